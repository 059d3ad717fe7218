"""Skin and hair that the picture shows at a grazing angle, and that a turn of the head draws out.

A pixel at the rim of a face covers a long streak of surface. Seen from its own side its Gaussian, and the gaps to its
neighbours, would make needles of the rim's colour. So it fades there, and the head model's skin under it shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize, pad

from ..geometry.points import HeadPoints
from ..head.camera import Camera
from ..record import Record
from ..smoothstep import smoothstep
from .compiled import loops_may
from .mirror import Mirror
from .neighbours import pixel_rows

STREAK, FACE_STREAK = 3.0, 1.5
"""Distance in pixels of what were neighbouring pixels from which a point begins to fade; at twice this it is gone.

Once the head has turned, the skin of the face fades sooner than hair: the head model's skin under it is much the same,
while the rim of a cheek, drawn out, is a dark and jagged line, and an ear's lobe a spike.
"""
STEPS = (1, 3)
"""Pixels to the neighbours that count: at a step in depth the outermost two or three pixels may hold together."""
NEAR, FAR = math.radians(5.0), math.radians(15.0)
"""Turns from the source's view between which the face's limit falls: before, it is expressions that stretch skin."""


@dataclass(frozen=True)
class Grazing(Record):
    """Visible points that a turn can draw out from their neighbours, and their mirror images."""

    rows: Int[Tensor, "k"]
    """Of the visible points."""
    neighbours: Int[Tensor, "4 2 k"]
    """Rows of the points so many `STEPS` before and behind along both axes of the picture, or the point's own."""
    mirrored: Int[Tensor, "m"]
    """Rows, among all points, of the mirrored points whose twin is one of ``rows``."""
    twin: Int[Tensor, "m"]
    """Place of that twin in ``rows``."""
    mirror: Mirror
    """What made the mirrored points."""
    face: Bool[Tensor, "k"]
    """Which of ``rows`` are skin of the face, or lie on it."""
    pixel: float
    """Distance of neighbouring pixels on a surface that faces the source's camera, units."""
    source: Camera

    def fade(self, factor: Float[Tensor, "n"], positions: Float[Tensor, "n 3"], camera: Camera) -> None:
        """Multiply the ``factor`` of every point, in place, by what the turn to ``camera`` leaves of it: 1 or less."""
        eye, streak = camera.place.to(positions), self.streak(camera)
        fade = self._compiled if loops_may(factor, positions, eye) else self._plain
        fade(factor, positions, eye, streak)

    def streak(self, camera: Camera) -> Float[Tensor, "k"]:
        """Return how far from its neighbours each of ``rows`` begins to fade, units."""
        turned = smoothstep(camera.turned_from(self.source), NEAR, FAR).to(self.rows.device)
        return self.pixel * torch.where(self.face, STREAK + (FACE_STREAK - STREAK) * turned, STREAK).float()

    def _compiled(
        self,
        factor: Float[Tensor, "n"],
        positions: Float[Tensor, "n 3"],
        eye: Float[Tensor, "3"],
        streak: Float[Tensor, "k"],
    ) -> None:
        from .kernels import fade

        rows, neighbours, center = self.rows.numpy(), self.neighbours.numpy(), tuple(eye.numpy())
        seen = rows, np.arange(len(rows)), np.eye(3, dtype=np.float32)
        mirrored = self.mirrored.numpy(), self.twin.numpy(), self.mirror.vectors.numpy()
        shape = rows, neighbours, np.repeat(np.array(STEPS, np.float32), 2)
        for points, origin, mirror in (seen, mirrored):
            fade(points, origin, *shape, mirror, center, streak.numpy(), positions.numpy(), factor.numpy())

    def _plain(
        self,
        factor: Float[Tensor, "n"],
        positions: Float[Tensor, "n 3"],
        eye: Float[Tensor, "3"],
        streak: Float[Tensor, "k"],
    ) -> None:
        gaps = positions[self.neighbours] - positions[self.rows]
        factor[self.rows] *= _left(gaps, positions[self.rows], eye, streak)
        reflected = self.mirror.reflect_vectors(gaps[:, :, self.twin])
        factor[self.mirrored] *= _left(reflected, positions[self.mirrored], eye, streak[self.twin])


def grazing_of(
    points: HeadPoints,
    rows: Int[Tensor, "k"],
    face: Bool[Tensor, "k"],
    smooth: Bool[Tensor, "k"],
    mirror: Mirror,
    pixel: float,
) -> Grazing:
    """Find those of the visible points ``rows`` whose neighbours lie far from them in space, on both sides.

    Args:
        points: The point cloud.
        rows: What may fade.
        face: Which of them are skin of the face, or lie on it.
        smooth: Which of them lie on a surface without folds, where farther neighbours count as well: not on an ear.
        mirror: What made the mirrored points.
        pixel: Distance of neighbouring pixels on a surface that faces the camera, in units.
    """
    reach = max(STEPS)
    grid = pad(pixel_rows(points), (reach,) * 4, value=-1)
    column, row = (points.pixel[rows].long() + reach).unbind(-1)
    beside = [[grid[row + dy * s, column + dx * s] for s in (k, -k)] for k in STEPS for dx, dy in ((1, 0), (0, 1))]
    neighbours = torch.stack([torch.stack(pair) for pair in beside])
    neighbours[2:, :, ~smooth] = -1
    neighbours = torch.where(neighbours >= 0, neighbours, rows)
    gaps = points.positions[neighbours] - points.positions[rows]
    steep = _alone(gaps) > pixel * torch.where(face, FACE_STREAK, STREAK)
    rows, neighbours, face = rows[steep], neighbours[..., steep], face[steep]
    place = torch.full((points.visible_count,), -1, dtype=torch.long, device=rows.device)
    place[rows] = torch.arange(len(rows), device=rows.device)
    twin = place[points.mirror_of.long()]
    mirrored = torch.nonzero(twin >= 0).squeeze(-1)
    return Grazing(
        rows, neighbours, mirrored + points.visible_count, twin[mirrored], mirror, face, pixel, points.fit.camera
    )


def _alone(gaps: Float[Tensor, "4 2 k 3"]) -> Float[Tensor, "k"]:
    """Return how far each point is, per pixel, from the nearer of its neighbours along an axis, for the worst of all.

    A neighbour that is not there does not count; a point that has none along an axis is not judged by it.
    """
    length = gaps.norm(dim=-1) / gaps.new_tensor([step for step in STEPS for _ in range(2)])[:, None, None]
    before, behind = length.unbind(1)
    nearer = torch.where((before > 0) & (behind > 0), torch.minimum(before, behind), torch.maximum(before, behind))
    return nearer.amax(dim=0)


def _left(
    gaps: Float[Tensor, "4 2 k 3"], positions: Float[Tensor, "k 3"], eye: Float[Tensor, "3"], streak: Float[Tensor, "k"]
) -> Float[Tensor, "k"]:
    """Return what is left of points that an ``eye`` sees so far from their neighbours."""
    sight = normalize(eye - positions, dim=-1)
    across = gaps - (gaps * sight).sum(dim=-1, keepdim=True) * sight
    return 1.0 - smoothstep(_alone(across) / streak, 1.0, 2.0)
