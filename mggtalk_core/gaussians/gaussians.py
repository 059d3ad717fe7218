"""`Gaussians`: the parameters of a set of 3D Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor

from ..record import Record

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic: base colour = 0.5 + SH_C0 * sh[0]."""


@dataclass(frozen=True)
class Gaussians(Record):
    """3D Gaussians in canonical head space (paper 3.2, D.3)."""

    means: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    """Unit quaternions w, x, y, z."""
    scales: Float[Tensor, "n 3"]
    """Standard deviations along the rotated axes, linear, units of 10 cm."""
    opacities: Float[Tensor, "n"]
    """0..1."""
    sh: Float[Tensor, "n 4 3"]
    """Spherical harmonics of degree 1 (the paper's c in R^12)."""
    labels: UInt8[Tensor, "n"]
    """A `Label` per Gaussian."""

    def __len__(self) -> int:
        """Return the number of Gaussians."""
        return self.means.shape[0]
