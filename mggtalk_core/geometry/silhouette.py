"""The head's silhouette in the source picture, and points that show past it, moved inside."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..head.camera import Camera
from .surface import Surface

SOLID = 0.5
"""Matte below which the picture shows something else than the head."""


class InView(NamedTuple):
    """Where the source picture has points; see `in_view`."""

    pixels: Float[Tensor, "k 3"]
    """Pixel x, pixel y, camera depth in units of 10 cm."""
    row: Int[Tensor, "k"]
    column: Int[Tensor, "k"]
    """Of the pixel, or of the nearest one in the picture."""
    in_picture: Bool[Tensor, "k"]


def in_view(points: Float[Tensor, "k 3"], camera: Camera) -> InView:
    """Project canonical points into the picture of a camera."""
    height, width = camera.height, camera.width
    pixels = camera.project(points.float())
    column, row = torch.floor(pixels[:, 0]).long(), torch.floor(pixels[:, 1]).long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return InView(pixels, row.clamp(0, height - 1), column.clamp(0, width - 1), inside)


def silhouette(surface: Surface) -> Bool[Tensor, "height width"]:
    """Return the pixels that show the head."""
    return surface.mask & (surface.portrait.matte[0] > SOLID)


class Tucked(NamedTuple):
    """What `tucked_in` returns."""

    pixels: Float[Tensor, "k 2"]
    """Where the source picture has the points now: pixel x, pixel y."""
    depth: Float[Tensor, "k"]
    """Camera depth of the points, units of 10 cm; it stays as it was."""
    shift: Float[Tensor, "k"]
    """By how many pixels each point was moved."""
    shown: Float[Tensor, "k"]
    """Camera depth of what the picture shows where the point is now."""
    in_picture: Bool[Tensor, "k"]
    """False outside the picture, where nothing is known; such a point is compared with the picture's rim."""


def tucked_in(positions: Float[Tensor, "k 3"], surface: Surface, *, erosion: int = 1) -> Tucked:
    """Move canonical points that show past the silhouette onto the nearest pixel of the head, at their own depth.

    Args:
        positions: the points, canonical space.
        surface: what the picture shows.
        erosion: odd window in pixels by which the silhouette shrinks first; 1 leaves it.
    """
    pixels, row, column, in_picture = in_view(positions, surface.fit.camera)
    solid = silhouette(surface)
    to_row, to_column = (index[row, column] for index in _nearest_solid(solid, erosion))
    shift = torch.stack((to_column - column, to_row - row), dim=1).to(pixels)
    shown = surface.depth[to_row, to_column]
    return Tucked(pixels[:, :2] + shift, pixels[:, 2], shift.norm(dim=1), shown, in_picture)


def eroded(values: Float[Tensor, "height width"], window: int) -> Float[Tensor, "height width"]:
    """Return the least value within an odd window of pixels around each; beyond the border is nothing."""
    import cv2

    least = cv2.erode(values.cpu().numpy(), np.ones((window, window), np.uint8))  # far faster than torch's max_pool2d
    return torch.from_numpy(least).to(values.device)


def _nearest_solid(
    solid: Bool[Tensor, "height width"], erosion: int
) -> tuple[Int[Tensor, "height width"], Int[Tensor, "height width"]]:
    """Return row and column of the nearest pixel inside the shrunk silhouette, for every pixel."""
    from scipy.ndimage import distance_transform_edt

    outside = (eroded(solid.float(), erosion) == 0).cpu().numpy()
    rows, columns = distance_transform_edt(outside, return_distances=False, return_indices=True)
    device = solid.device
    return torch.from_numpy(rows).long().to(device), torch.from_numpy(columns).long().to(device)
