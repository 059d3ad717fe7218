"""Reflection of Gaussians: the base of the symmetric decoder (paper D.4, eq. 10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..geometry.mirror_plane import MirrorPlane
from ..record import Record
from .turn import harmonics_of


@dataclass(frozen=True)
class Mirror(Record):
    """What a mirror does to the parameters of Gaussians, each a matrix that rows are multiplied by.

    The paper's mirror is the plane x = 0 of canonical space: quaternions (w, x, y, z) become (w, x, -y, -z), and of the
    harmonics of degree 1, which stand for (y, z, x), the last changes sign. About another plane they turn with it.
    """

    vectors: Float[Tensor, "3 3"]
    shift: Float[Tensor, "3"]
    """What is added to points after that, units of 10 cm."""
    quaternions: Float[Tensor, "4 4"]
    harmonics: Float[Tensor, "4 4"]

    @classmethod
    def about(cls, plane: MirrorPlane) -> Mirror:
        """Return the mirror in a plane."""
        normal = plane.normal
        vectors = torch.eye(3).to(normal) - 2.0 * torch.outer(normal, normal)
        # The reflection is x -> -x, then the turn (x, 0, -z, y): twice the angle from the x axis to the normal.
        x, y, z = normal
        zero = torch.zeros_like(x)
        turn = torch.stack((x, zero, z, -y, zero, x, -y, -z, -z, y, x, zero, y, z, zero, x)).view(4, 4)
        quaternions = turn.T * turn.new_tensor((1.0, 1.0, -1.0, -1.0))[:, None]
        return cls(vectors, 2.0 * plane.offset * normal, quaternions, harmonics_of(vectors))

    def reflect_points(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return the images of points, units of 10 cm."""
        return points @ self.vectors + self.shift

    def reflect_vectors(self, vectors: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Return the images of differences of points."""
        return vectors @ self.vectors

    def reflect_quaternions(self, quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
        """Return the rotations of mirrored Gaussians, which have the axes of the others but for the sign of the first.

        ``M R diag(-1, 1, 1)`` with the reflection ``M`` and the rotation ``R`` of a Gaussian.
        """
        return quats @ self.quaternions

    def reflect_harmonics(self, sh: Float[Tensor, "n 4 3"]) -> Float[Tensor, "n 4 3"]:
        """Return the colours of mirrored Gaussians."""
        return self.harmonics @ sh
