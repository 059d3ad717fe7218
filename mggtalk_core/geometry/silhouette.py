"""Points that show past the head's silhouette in the source picture, moved inside it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import max_pool2d

from .surface import Surface

SOLID = 0.5
"""Matte below which the picture shows something else than the head."""


class Tucked(NamedTuple):
    """What `tucked_in` returns."""

    positions: Float[Tensor, "k 3"]
    shift: Float[Tensor, "k"]
    """By how many pixels each point was moved."""
    depth: Float[Tensor, "k"]
    """Camera depth of the points, units of 10 cm; it stays as it was."""
    shown: Float[Tensor, "k"]
    """Camera depth of what the picture shows where the point is now."""
    outside: Bool[Tensor, "k"]
    """Whether the point showed past the silhouette, before it shrank."""
    in_picture: Bool[Tensor, "k"]
    """False outside the picture, where nothing is known; such a point is compared with the picture's rim."""


def tucked_in(positions: Float[Tensor, "k 3"], surface: Surface, *, erosion: int = 1) -> Tucked:
    """Move canonical points that show past the silhouette onto the nearest pixel of the head, at their own depth.

    Args:
        positions: the points, canonical space.
        surface: what the picture shows.
        erosion: odd window in pixels by which the silhouette shrinks first; 1 leaves it.
    """
    camera = surface.fit.camera
    x, y, z = camera.project(positions).unbind(-1)
    column, row = torch.floor(x).long(), torch.floor(y).long()
    in_picture = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    column, row = column.clamp(0, camera.width - 1), row.clamp(0, camera.height - 1)
    solid = (surface.portrait.matte[0] > SOLID) & surface.mask
    to_row, to_column = (index[row, column] for index in _nearest_solid(solid, erosion))
    shift = torch.stack((to_column - column, to_row - row), dim=1).to(x)
    moved = camera.unproject(torch.stack((x, y), dim=1) + shift, z)
    return Tucked(moved, shift.norm(dim=1), z, surface.depth[to_row, to_column], ~solid[row, column], in_picture)


def _nearest_solid(
    solid: Bool[Tensor, "height width"], erosion: int
) -> tuple[Int[Tensor, "height width"], Int[Tensor, "height width"]]:
    """Return row and column of the nearest pixel inside the shrunk silhouette, for every pixel."""
    from scipy.ndimage import distance_transform_edt

    # One axis after the other: the same square window at a fraction of the work.
    thin = -max_pool2d(-solid.float()[None, None], (erosion, 1), stride=1, padding=(erosion // 2, 0))
    core = -max_pool2d(-thin, (1, erosion), stride=1, padding=(0, erosion // 2))
    outside = (core[0, 0] == 0).cpu().numpy()
    rows, columns = distance_transform_edt(outside, return_distances=False, return_indices=True)
    device = solid.device
    return torch.from_numpy(rows).long().to(device), torch.from_numpy(columns).long().to(device)
