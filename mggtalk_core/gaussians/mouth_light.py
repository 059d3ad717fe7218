"""The light in the mouth: lips that close let less of it in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..record import Record
from .aperture import Aperture
from .gaussians import SH_C0

POWER = 0.4
"""Exponent with which the light grows with the height of the opening.

Chosen on 188 pairs of frames of clips for training. Without it teeth shine between lips that close: that costs .3 dB of
the mouth's PSNR in the 78 whose lips are nearly shut.
"""
LIT = 0.08
"""Height of the opening from which the light falls in full on what the picture hides, units of 10 cm."""
SLIT = 0.01
"""Added to every height: the light of lips that all but touch must not flicker with them."""


@dataclass(frozen=True)
class MouthLight(Record):
    """What lies in the mouth, and from which opening on it is as bright as its own colour says."""

    lips: Aperture
    seen: Int[Tensor, "k"]
    """Gaussians of what the picture shows between the lips."""
    hidden: Int[Tensor, "m"]
    """Gaussians of the model's mouth."""
    rest: float
    """Height of the opening in the picture, units."""

    def dim(self, sh: Float[Tensor, "g 4 3"], vertices: Float[Tensor, "vertices 3"]) -> None:
        """Take light from the harmonics of what lies in the mouth, in place; never add any."""
        height = self.lips.height(vertices)
        for rows, full in ((self.seen, self.rest), (self.hidden, LIT)):
            light = ((height + SLIT) / (full + SLIT)).clamp(0.0, 1.0) ** POWER
            sh[rows, 0] += (light - 1.0) * (sh[rows, 0] + 0.5 / SH_C0)  # in full light not a bit changes


def mouth_light(lips: Aperture, rest: float, inside: Bool[Tensor, "n"], seen: int) -> MouthLight:
    """Find what lies in the mouth among all Gaussians.

    Args:
        lips: The opening.
        rest: Its height in the picture, units.
        inside: Which points lie in the mouth.
        seen: How many points, the first ones, are visible or mirrored; their children follow all points.
    """
    rows = torch.nonzero(torch.cat((inside, inside[:seen]))).squeeze(-1)
    hidden = (rows >= seen) & (rows < len(inside))
    return MouthLight(lips, rows[~hidden], rows[hidden], max(rest, 0.0))
