"""Which way a normal map's axes point: measured against the fitted head, not guessed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError

SURE = 0.3
"""Correlation with the head's normals from which a sign is believed."""
MIN_PIXELS = 500
"""Face pixels that a sign can be trusted to."""
CONVENTIONS = {
    (1, 1, 1): "camera axes (x right, y down, z forward)",
    (1, -1, -1): "OpenGL (x right, y up, z towards the viewer)",
    (1, 1, -1): "DirectX (x right, y down, z towards the viewer)",
    (-1, -1, -1): "camera axes turned round (x left, y up, z towards the viewer)",
}


@dataclass(frozen=True)
class Orientation:
    """Signs that turn a map's x, y and z into camera axes, and how sure they are."""

    signs: tuple[int, int, int]
    agreement: tuple[float, float, float]
    """Correlation of x and y, and mean product of z, with the fitted head's normals, after the signs: 0 to 1."""

    @property
    def is_sure(self) -> bool:
        """True if every axis follows the head's."""
        return min(self.agreement) >= SURE

    def __str__(self) -> str:
        """Return the convention in words."""
        named = ", ".join(
            f"{axis} {'as is' if sign > 0 else 'turned'}" for axis, sign in zip("xyz", self.signs, strict=True)
        )
        return CONVENTIONS.get(self.signs, named)


def orientation_of(
    normals: Float[Tensor, "3 height width"], head: Float[Tensor, "3 height width"], face: Bool[Tensor, "height width"]
) -> Orientation:
    """Find the signs of a normal map by comparing it with the fitted head's normals on the face.

    Args:
        normals: the map, NaN where unknown.
        head: normals of the fitted head, camera axes.
        face: where the head model is seen.

    Raises:
        InputError: fewer than `MIN_PIXELS` known pixels of the face.

    """
    known = face & torch.isfinite(normals).all(0)
    if int(known.sum()) < MIN_PIXELS:
        raise InputError("The normal map shows too little of the face: give one of this crop, or use provider 'mesh'.")
    ours, theirs = head[:, known].double(), normals[:, known].double().to(head.device)
    # Medians, not means: hair, glasses and a wrong background must not move the middle.
    level, other = (values[:2] - values[:2].median(dim=1, keepdim=True).values for values in (ours, theirs))
    scale = level.square().sum(1).sqrt() * other.square().sum(1).sqrt()
    x, y = ((level * other).sum(1) / scale.clamp(min=1e-12)).tolist()
    z = float((ours[2] * theirs[2]).median())
    signs = tuple(-1 if value < 0 else 1 for value in (x, y, z))
    return Orientation(signs, (abs(x), abs(y), abs(z)))


def oriented(normals: Float[Tensor, "3 height width"], orientation: Orientation) -> Float[Tensor, "3 height width"]:
    """Return the map in camera axes."""
    return normals * normals.new_tensor(orientation.signs)[:, None, None]
