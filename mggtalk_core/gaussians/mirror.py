"""Reflection of Gaussians in the plane x = 0: the base of the symmetric decoder (paper D.4, eq. 10)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def reflect_quaternions(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Return the rotations of mirrored Gaussians: (w, x, y, z) -> (w, x, -y, -z)."""
    return quats * quats.new_tensor((1.0, 1.0, -1.0, -1.0))


def reflect_harmonics(sh: Float[Tensor, "n 4 3"]) -> Float[Tensor, "n 4 3"]:
    """Return the colours of mirrored Gaussians: of the degree-1 terms (y, z, x) the one in x changes sign."""
    return sh * sh.new_tensor((1.0, 1.0, 1.0, -1.0))[:, None]
