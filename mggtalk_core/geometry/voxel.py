"""The voxel filter of the paper (D.1): which mirrored points a cloud can take in."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import InputError

Occlusion = Literal["front", "behind"]
DIGIT = 1 << 20
"""Voxel indices per axis that a key has room for: 3 km at 0.03 units, so only broken points overflow."""


def voxel_filter(
    points: Float[Tensor, "n 3"],
    mirrored: Float[Tensor, "m 3"],
    *,
    voxel: float = 0.03,
    radius: int = 0,
    occlusion: Occlusion = "front",
) -> Bool[Tensor, "m"]:
    """Return which mirrored points to keep: ``F_voxel`` of eq. 3, in both of the paper's readings.

    Args:
        points: visible points ``P_f``, canonical (z out of the face).
        mirrored: candidates ``P_f * [-1, 1, 1]``.
        voxel: edge of a voxel in units of 10 cm.
        radius: 0 drops a candidate in the voxel of a visible point (D.1), 1 also in its 26 neighbours (3.1).
        occlusion: ``front`` drops candidates in front of the foremost visible point of their (x, y) column (3.1: they
            would hide it); ``behind`` drops those at the back of it (D.1: it hides them).

    Raises:
        InputError: a setting outside these choices.

    """
    if voxel <= 0 or radius not in (0, 1) or occlusion not in ("front", "behind"):
        raise InputError("The voxel filter needs voxel > 0, radius 0 or 1, and occlusion 'front' or 'behind'.")
    if len(points) == 0:
        return torch.ones(len(mirrored), dtype=torch.bool, device=mirrored.device)
    seen, candidates = _cells(points, voxel), _cells(mirrored, voxel)
    occupied = torch.unique(_keys(seen))
    near = _contains(_grown(occupied) if radius else occupied, _keys(candidates))
    foremost, has_column = _foremost(occupied, candidates)
    depth = candidates[:, 2]
    hidden = has_column & (depth > foremost if occlusion == "front" else depth < foremost)
    return ~(near | hidden)


def _cells(points: Float[Tensor, "n 3"], voxel: float) -> Int[Tensor, "n 3"]:
    return torch.floor(points.double() / voxel).long()


def _keys(cells: Int[Tensor, "n 3"]) -> Int[Tensor, "n"]:
    """Return a number per voxel; those of one (x, y) column follow each other in order of z."""
    x, y, z = (cells + DIGIT // 2).clamp(1, DIGIT - 2).unbind(-1)
    return (x * DIGIT + y) * DIGIT + z


def _grown(keys: Int[Tensor, "k"]) -> Int[Tensor, "g"]:
    """Return the voxels and all their neighbours."""
    steps = torch.arange(-1, 2, device=keys.device)
    shifts = (steps[:, None, None] * DIGIT + steps[None, :, None]) * DIGIT + steps
    return torch.unique(keys[:, None] + shifts.reshape(1, -1))


def _contains(keys: Int[Tensor, "k"], wanted: Int[Tensor, "m"]) -> Bool[Tensor, "m"]:
    at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return keys[at] == wanted


def _foremost(keys: Int[Tensor, "k"], cells: Int[Tensor, "m 3"]) -> tuple[Int[Tensor, "m"], Bool[Tensor, "m"]]:
    """Return the largest z index in the column of every cell, and whether the column has any."""
    column = _keys(cells) // DIGIT
    last = (torch.searchsorted(keys, (column + 1) * DIGIT) - 1).clamp(min=0)
    return keys[last] % DIGIT - DIGIT // 2, keys[last] // DIGIT == column
