"""The grid of cells that the networks work on: from points to maps, and from maps to points (paper D.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from ...geometry.points import HeadPoints
from ...portrait.portrait import CROP_SIZE
from ...record import Record


@dataclass(frozen=True)
class Cells(Record):
    """Which point stands for a cell, and between which cells a point lies; found once per avatar.

    Mirrored points have no pixel of their own: they lie in the cells of their twins.
    """

    grid: int
    """Edge of the grid in cells."""
    visible: Int[Tensor, "cells"]
    """Row of the visible point nearest to the middle of every cell; -1 where there is none."""
    mirrored: Int[Tensor, "cells"]
    """The same of the mirrored points, rows of all points."""
    twins: Int[Tensor, "cells"]
    """Row of the visible point that ``mirrored`` mirrors; -1 where there is none."""
    corners: Int[Tensor, "seen k"]
    """Cells around every visible and mirrored point: four, or the one of its pixel where cells are pixels.

    Mirrored points count on from the last cell: theirs is a grid of its own.
    """
    weights: Float[Tensor, "seen k"]

    @classmethod
    def of(cls, points: HeadPoints, cell: int) -> Cells:
        """Lay a grid of cells, ``cell`` pixels wide, over the crop of these points."""
        grid, twin = CROP_SIZE // cell, points.mirror_of.long()
        visible = _standing(points.pixel, grid, cell)
        mirrored = _standing(points.pixel[twin], grid, cell)
        has = mirrored >= 0
        twins = torch.where(has, twin[mirrored.clamp(min=0)] if len(twin) else mirrored, -1)
        rows = torch.where(has, mirrored + points.visible_count, -1)
        corners, weights = _around(points.pixel, grid, cell)
        corners = torch.cat((corners, corners[twin] + grid * grid))
        return cls(grid, visible, rows, twins, corners, torch.cat((weights, weights[twin])))

    def picture(self, values: Float[Tensor, "n c"], rows: Int[Tensor, "cells"]) -> Float[Tensor, "c h w"]:
        """Return the values of the points that stand for the cells as a map; 0 where there is none."""
        there = values[rows.clamp(min=0)] * (rows >= 0)[:, None]  # [cells, C]
        return there.T.unflatten(1, (self.grid, self.grid))  # [C, H, W]

    def spread(
        self, maps: Float[Tensor, "2 c h w"], widths: Sequence[int], rows: Tensor | slice = slice(None)
    ) -> tuple[Float[Tensor, "k _"], ...]:
        """Return the maps of both halves at their points, bilinear between the cells' middles.

        ``widths``: how many channels go into each of the results; ``rows``: of the points that are wanted.
        """
        tables = [part.transpose(0, 1).flatten(1).T for part in maps.split(widths, dim=1)]  # [2 * cells, _] each
        corners, weights = self.corners[rows], self.weights[rows]
        return tuple(_looked_up(table, corners, weights) for table in tables)

    def at_twins(self, values: Float[Tensor, "c h w"]) -> Float[Tensor, "cells c"]:
        """Return the visible half's map at the points that `twins` names; anything where there is none."""
        rows = self.twins.clamp(min=0)
        return _looked_up(values.flatten(1).T, self.corners[rows], self.weights[rows])


def _looked_up(
    table: Float[Tensor, "rows c"], corners: Int[Tensor, "m k"], weights: Float[Tensor, "m k"]
) -> Float[Tensor, "m c"]:
    if corners.shape[1] == 1:
        return table[corners[:, 0]]
    # A column alone counts as contiguous whatever its strides, and then takes torch's slow way.
    table = table.clone(memory_format=torch.contiguous_format)
    return embedding_bag(corners, table, per_sample_weights=weights, mode="sum")


def _standing(pixel: Int[Tensor, "m 2"], grid: int, cell: int) -> Int[Tensor, "cells"]:
    """Return the index of the pixel nearest to the middle of every cell, the first of several; -1 where none is."""
    column, row = pixel.long().unbind(-1)
    middle = (cell - 1) / 2.0
    away = (column % cell - middle).square() + (row % cell - middle).square()
    place = (row // cell) * grid + column // cell
    order = torch.argsort(away, stable=True)
    chosen = torch.full((grid * grid,), -1, dtype=torch.long, device=pixel.device)
    cells, first = _firsts(place[order])
    chosen[cells] = order[first]
    return chosen


def _firsts(values: Int[Tensor, "m"]) -> tuple[Int[Tensor, "k"], Int[Tensor, "k"]]:
    """Return the different values, and where each of them comes first."""
    different, group = torch.unique(values, return_inverse=True)
    place = torch.arange(len(values), device=values.device)
    first = torch.full((len(different),), len(values), dtype=torch.long, device=values.device)
    return different, first.scatter_reduce(0, group, place, "amin")


def _around(pixel: Int[Tensor, "f 2"], grid: int, cell: int) -> tuple[Int[Tensor, "f k"], Float[Tensor, "f k"]]:
    """Return the cells whose middles surround every pixel, and their bilinear weights."""
    if cell == 1:
        corners = (pixel[:, 1:] * grid + pixel[:, :1]).long()
        return corners, torch.ones_like(corners, dtype=torch.float32)
    place = ((pixel.float() + 0.5) / cell - 0.5).clamp(0.0, grid - 1.0)  # [F, 2], x and y in cells
    low = place.long().clamp(max=grid - 2)
    part = place - low
    corners, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            corners.append((low[:, 1] + dy) * grid + low[:, 0] + dx)
            weights.append((part[:, 0] - (1 - dx)).abs() * (part[:, 1] - (1 - dy)).abs())
    return torch.stack(corners, dim=1), torch.stack(weights, dim=1)
