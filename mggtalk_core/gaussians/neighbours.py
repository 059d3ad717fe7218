"""Which visible points belong to one piece of surface: the source of tangents that follow the deformation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from ..geometry.points import HeadPoints
from ..record import Record
from .compiled import loops_may

REST_REACH = 8.0
"""Neighbouring pixels farther apart than this many pixel spacings lie on different surfaces (nose over cheek)."""
PROBE_REACH = 5.0
"""Pixels that a probe expression moves apart by more spacings than this lie on different sides of an opening."""

TEAR = 4
"""Opacity of skin that is stretched beyond its limit falls with this power of the excess."""


@dataclass(frozen=True)
class Tangents(Record):
    """Difference operator along rows and columns of the picture; it never reaches across a lip, a lid or an edge."""

    rows: Int[Tensor, "2 f 2"]
    """For each axis and point, the two rows whose positions are subtracted."""
    weights: Float[Tensor, "2 f 2"]
    fallback: Float[Tensor, "2 f 3"]
    """Tangent of points that have no neighbour along the axis, else 0."""
    longest: Float[Tensor, "2 f"]
    """Largest length a tangent may reach: skin stretched further tears open and shows what lies under it."""
    pixel: float
    """Distance of neighbouring pixels on a surface that faces the source camera, units."""

    def __call__(
        self, positions: Float[Tensor, "f 3"]
    ) -> tuple[Float[Tensor, "f 3"], Float[Tensor, "f 3"], Float[Tensor, "f"]]:
        """Return the spacing vectors of the deformed surface along x and y, and how whole it is: 1, or less if torn."""
        if loops_may(positions):
            x, y, room = self._compiled(positions)
        else:
            x, y, room = self._plain(positions)
        return x, y, room.pow(TEAR)

    def _compiled(
        self, positions: Float[Tensor, "f 3"]
    ) -> tuple[Float[Tensor, "f 3"], Float[Tensor, "f 3"], Float[Tensor, "f"]]:
        from .kernels import tangents

        along, room = torch.empty_like(self.fallback), torch.empty_like(self.longest[0])
        parts = (positions.contiguous(), self.rows, self.weights, self.fallback, self.longest, along, room)
        tangents(*(part.numpy() for part in parts))
        return along[0], along[1], room

    def _plain(
        self, positions: Float[Tensor, "f 3"]
    ) -> tuple[Float[Tensor, "f 3"], Float[Tensor, "f 3"], Float[Tensor, "f"]]:
        x, room_x = self._along(0, positions)
        y, room_y = self._along(1, positions)
        return x, y, torch.minimum(room_x, room_y)

    def _along(self, axis: int, positions: Float[Tensor, "f 3"]) -> tuple[Float[Tensor, "f 3"], Float[Tensor, "f"]]:
        spacing = embedding_bag(self.rows[axis], positions, per_sample_weights=self.weights[axis], mode="sum")
        spacing = spacing + self.fallback[axis]
        room = (self.longest[axis] / spacing.norm(dim=-1).clamp(min=1e-9)).clamp(max=1.0)
        return spacing * room[:, None], room


def pixel_rows(points: HeadPoints, size: int = 512) -> Int[Tensor, "size size"]:
    """Return the row of the visible point in each crop pixel, -1 where there is none."""
    grid = torch.full((size, size), -1, dtype=torch.long, device=points.positions.device)
    column, row = points.pixel.long().unbind(-1)
    grid[row, column] = torch.arange(points.visible_count, device=grid.device)
    return grid


def surface_tangents(
    points: HeadPoints,
    sheet: Int[Tensor, "f"],
    probes: Sequence[Float[Tensor, "n 3"]],
    facing: Float[Tensor, "f 3"],
    spacing: float,
    stretch: float,
) -> Tangents:
    """Build the difference operator of the visible points.

    Args:
        points: The point cloud; only its visible part is used.
        sheet: A number per visible point; points with different numbers are never joined (skin, eyeball, teeth).
        probes: Positions of all points in expressions that open mouth and lids.
        facing: Canonical unit normal per visible point, for points without neighbours.
        spacing: Distance of neighbouring pixels on a surface that faces the camera, in units.
        stretch: How many times its length at rest a tangent may grow.
    """
    grid = torch.nn.functional.pad(pixel_rows(points), (1, 1, 1, 1), value=-1)
    count = points.visible_count
    rest = points.positions[:count]
    column, row = (points.pixel.long() + 1).unbind(-1)
    here = torch.arange(count, device=rest.device)
    rows, weights, lengths = [], [], []
    for dx, dy in ((1, 0), (0, 1)):
        ahead, behind = grid[row + dy, column + dx], grid[row - dy, column - dx]
        ahead = torch.where(_joined(ahead, sheet, rest, probes, spacing), ahead, here)
        behind = torch.where(_joined(behind, sheet, rest, probes, spacing), behind, here)
        step = 1.0 / ((ahead != here).float() + (behind != here).float()).clamp(min=1.0)
        rows.append(torch.stack((ahead, behind), dim=-1))
        weights.append(torch.stack((step, -step), dim=-1))
        lengths.append(((rest[ahead] - rest[behind]) * step[:, None]).norm(dim=-1))
    fallback = _fallback(rest, rows, weights, facing, spacing)
    longest = stretch * torch.stack(lengths).clamp(min=spacing)
    return Tangents(torch.stack(rows), torch.stack(weights), fallback, longest, spacing)


def _joined(
    there: Int[Tensor, "f"],
    sheet: Int[Tensor, "f"],
    rest: Float[Tensor, "f 3"],
    probes: Sequence[Float[Tensor, "n 3"]],
    spacing: float,
) -> Bool[Tensor, "f"]:
    """Tell whether each point and its neighbour stay on one surface at rest and in every probe expression."""
    other = there.clamp(min=0)
    gap = rest[other] - rest
    joined = (there >= 0) & (sheet[other] == sheet) & (gap.norm(dim=-1) < REST_REACH * spacing)
    for probe in probes:
        opening = (probe[other] - probe[: len(rest)] - gap).norm(dim=-1)
        joined &= opening < PROBE_REACH * spacing
    return joined


def _fallback(
    rest: Float[Tensor, "f 3"],
    rows: list[Int[Tensor, "f 2"]],
    weights: list[Float[Tensor, "f 2"]],
    facing: Float[Tensor, "f 3"],
    spacing: float,
) -> Float[Tensor, "2 f 3"]:
    """Return a tangent of one pixel, perpendicular to normal and other axis, where an axis has no neighbour."""
    alone = [(pair[:, 0] == pair[:, 1])[:, None] for pair in rows]
    found = [
        torch.where(lone, torch.zeros_like(rest), embedding_bag(pair, rest, per_sample_weights=weight, mode="sum"))
        for lone, pair, weight in zip(alone, rows, weights, strict=True)
    ]
    right = torch.zeros_like(rest)
    right[:, 0] = 1.0
    guess_x = torch.where(alone[1], right, torch.linalg.cross(facing, found[1]))
    guess_x = guess_x - (guess_x * facing).sum(-1, keepdim=True) * facing
    guess_x = torch.nn.functional.normalize(guess_x, dim=-1) * spacing
    guess_y = torch.linalg.cross(torch.where(alone[0], guess_x, found[0]), facing)
    guess_y = torch.nn.functional.normalize(guess_y, dim=-1) * spacing
    return torch.stack((torch.where(alone[0], guess_x, 0.0), torch.where(alone[1], guess_y, 0.0)))
