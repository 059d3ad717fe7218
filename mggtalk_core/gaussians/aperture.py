"""Eyeballs show only between the lids, teeth and tongue only between the lips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..record import Record
from .compiled import loops_may


@dataclass(frozen=True)
class Aperture(Record):
    """An opening bounded by an upper and a lower contour of the head model, seen from the front."""

    upper: Int[Tensor, "u"]
    """Vertices of the upper contour, by rising x."""
    lower: Int[Tensor, "l"]
    margin: float
    """How far beside the contour a point may still show, units."""
    slope: float
    """By how much that grows per unit of depth behind the contour: what lies deep is seen at an angle."""
    softness: float
    """Width of the transition, units."""

    def __call__(self, vertices: Float[Tensor, "vertices 3"], points: Float[Tensor, "k 3"]) -> Float[Tensor, "k"]:
        """Return 1 for points inside the opening, 0 outside, with a soft edge."""
        upper, lower = vertices[self.upper], vertices[self.lower]
        return (self._compiled if loops_may(vertices, points) else self._plain)(upper, lower, points)

    def height(self, vertices: Float[Tensor, "vertices 3"]) -> Float[Tensor, ""]:
        """Return how far the upper contour lies above the lower one in the mean."""
        return vertices[self.upper, 1].mean() - vertices[self.lower, 1].mean()

    def _compiled(
        self, upper: Float[Tensor, "u 3"], lower: Float[Tensor, "l 3"], points: Float[Tensor, "k 3"]
    ) -> Float[Tensor, "k"]:
        from .kernels import show_through

        contours = [contour.T.contiguous().numpy() for contour in (upper, lower)]
        ends = min(each[0, 0] for each in contours), max(each[0, -1] for each in contours)
        for contour in contours:
            np.maximum.accumulate(contour[0], out=contour[0])
        shown, numbers = points.new_empty(len(points)), (self.margin, self.slope, self.softness)
        show_through(*contours, ends, tuple(map(np.float32, numbers)), points.contiguous().numpy(), shown.numpy())
        return shown

    def _plain(
        self, upper: Float[Tensor, "u 3"], lower: Float[Tensor, "l 3"], points: Float[Tensor, "k 3"]
    ) -> Float[Tensor, "k"]:
        x, y = points[:, 0], points[:, 1]
        top, bottom = _interpolate(x, upper[:, 0], upper[:, 1]), _interpolate(x, lower[:, 0], lower[:, 1])
        left, right = torch.minimum(upper[0, 0], lower[0, 0]), torch.maximum(upper[-1, 0], lower[-1, 0])
        # A shut opening hides everything, whatever the margin.
        open_height = ((top - bottom) / self.softness).clamp(0.0, 1.0)
        inside = torch.stack((top - y, y - bottom, x - left, right - x)).amin(dim=0)
        behind = 0.5 * (_interpolate(x, upper[:, 0], upper[:, 2]) + _interpolate(x, lower[:, 0], lower[:, 2]))
        margin = self.margin + self.slope * (behind - points[:, 2]).clamp(min=0.0)
        return ((inside + margin) / self.softness).clamp(0.0, 1.0) * open_height


def aperture_of(
    loop: Int[Tensor, "m"], opened: Float[Tensor, "vertices 3"], margin: float, slope: float, softness: float
) -> Aperture:
    """Split a closed contour at its two corners (smallest and largest x) into an upper and a lower half."""
    positions = opened[loop]
    ring = torch.roll(loop, -int(positions[:, 0].argmin()))
    corner = int(opened[ring][:, 0].argmax())
    one = ring[: corner + 1]
    two = torch.cat((ring[corner:], ring[:1])).flip(0)
    one_is_upper = bool(opened[one][:, 1].mean() >= opened[two][:, 1].mean())
    return Aperture(one if one_is_upper else two, two if one_is_upper else one, margin, slope, softness)


def _interpolate(x: Float[Tensor, "k"], knots: Float[Tensor, "m"], values: Float[Tensor, "m"]) -> Float[Tensor, "k"]:
    """Piecewise linear interpolation, constant beyond the ends; knots need not be strictly rising."""
    knots = torch.cummax(knots, dim=0).values
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    left = right - 1
    t = ((x - knots[left]) / (knots[right] - knots[left]).clamp(min=1e-9)).clamp(0.0, 1.0)
    return values[left] + t * (values[right] - values[left])
