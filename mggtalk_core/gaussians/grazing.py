"""Skin and hair that the picture shows at a grazing angle, and that a turn of the head draws out.

A pixel at the rim of a face covers a long streak of surface. Seen from its own side its Gaussian, and the gaps to its
neighbours, would make needles of the rim's colour. So it fades there, and the head model's skin under it shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize, pad

from ..geometry.points import HeadPoints
from ..head.camera import Camera
from ..record import Record
from ..smoothstep import smoothstep
from .compiled import loops_may
from .mirror import Mirror
from .neighbours import pixel_rows

STREAK, NEEDLE = 3.0, 6.0
"""Distance in pixels of what were neighbouring pixels, from which a point begins to fade, and at which it is gone."""


@dataclass(frozen=True)
class Grazing(Record):
    """Visible points that a turn can draw out from their neighbours, and their mirror images."""

    rows: Int[Tensor, "k"]
    """Of the visible points."""
    neighbours: Int[Tensor, "2 2 k"]
    """Rows of the points in the pixels before and behind along both axes of the picture, or the point's own."""
    mirrored: Int[Tensor, "m"]
    """Rows, among all points, of the mirrored points whose twin is one of ``rows``."""
    twin: Int[Tensor, "m"]
    """Place of that twin in ``rows``."""
    mirror: Mirror
    """What made the mirrored points."""
    pixel: float
    """Distance of neighbouring pixels on a surface that faces the source's camera, units."""

    def fade(self, factor: Float[Tensor, "n"], positions: Float[Tensor, "n 3"], camera: Camera) -> None:
        """Multiply the ``factor`` of every point, in place, by what the turn to ``camera`` leaves of it: 1 or less."""
        eye = camera.place.to(positions)
        (self._compiled if loops_may(factor, positions, eye) else self._plain)(factor, positions, eye)

    def _compiled(self, factor: Float[Tensor, "n"], positions: Float[Tensor, "n 3"], eye: Float[Tensor, "3"]) -> None:
        from .kernels import fade

        rows, neighbours, center = self.rows.numpy(), self.neighbours.numpy(), tuple(eye.numpy())
        limits = tuple(np.float32(self.pixel * pixels) for pixels in (STREAK, NEEDLE - STREAK))
        seen = rows, np.arange(len(rows)), np.eye(3, dtype=np.float32)
        mirrored = self.mirrored.numpy(), self.twin.numpy(), self.mirror.vectors.numpy()
        for points, origin, mirror in (seen, mirrored):
            fade(points, origin, rows, neighbours, mirror, center, limits, positions.numpy(), factor.numpy())

    def _plain(self, factor: Float[Tensor, "n"], positions: Float[Tensor, "n 3"], eye: Float[Tensor, "3"]) -> None:
        gaps = positions[self.neighbours] - positions[self.rows]
        factor[self.rows] *= self._left(gaps, positions[self.rows], eye)
        reflected = self.mirror.reflect_vectors(gaps[:, :, self.twin])
        factor[self.mirrored] *= self._left(reflected, positions[self.mirrored], eye)

    def _left(
        self, gaps: Float[Tensor, "2 2 k 3"], positions: Float[Tensor, "k 3"], eye: Float[Tensor, "3"]
    ) -> Float[Tensor, "k"]:
        sight = normalize(eye - positions, dim=-1)
        across = gaps - (gaps * sight).sum(dim=-1, keepdim=True) * sight
        return 1.0 - smoothstep(_alone(across) / self.pixel, STREAK, NEEDLE)


def grazing_of(points: HeadPoints, rows: Int[Tensor, "k"], mirror: Mirror, pixel: float) -> Grazing:
    """Find those of the visible points ``rows`` whose neighbours lie far from them in space, on both sides.

    ``pixel`` is the distance of neighbouring pixels on a surface that faces the camera, in units.
    """
    grid = pad(pixel_rows(points), (1, 1, 1, 1), value=-1)
    column, row = (points.pixel[rows].long() + 1).unbind(-1)
    beside = [[grid[row + dy * s, column + dx * s] for s in (1, -1)] for dx, dy in ((1, 0), (0, 1))]
    neighbours = torch.stack([torch.stack(pair) for pair in beside])
    neighbours = torch.where(neighbours >= 0, neighbours, rows)
    steep = _alone(points.positions[neighbours] - points.positions[rows]) > STREAK * pixel
    rows, neighbours = rows[steep], neighbours[..., steep]
    place = torch.full((points.visible_count,), -1, dtype=torch.long, device=rows.device)
    place[rows] = torch.arange(len(rows), device=rows.device)
    twin = place[points.mirror_of.long()]
    mirrored = torch.nonzero(twin >= 0).squeeze(-1)
    return Grazing(rows, neighbours, mirrored + points.visible_count, twin[mirrored], mirror, pixel)


def _alone(gaps: Float[Tensor, "2 2 k 3"]) -> Float[Tensor, "k"]:
    """Return how far each point is from the nearer of its neighbours along an axis, for the worse of both axes.

    A neighbour that is not there does not count; a point that has none along an axis is not judged by it.
    """
    length = gaps.norm(dim=-1)
    before, behind = length.unbind(1)
    nearer = torch.where((before > 0) & (behind > 0), torch.minimum(before, behind), torch.maximum(before, behind))
    return nearer.amax(dim=0)
