"""What lies between teeth and lips was seen through one opening of the mouth; a wider one shows what nobody saw."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geometry.points import HeadPoints, Label
from ..head.parts import Part
from ..record import Record
from ..smoothstep import smoothstep
from .aperture import Aperture

TORN = (0.01, 0.06)
"""Growth of the opening over which what was seen gives way to the model, units of 10 cm."""


@dataclass(frozen=True)
class Gap(Record):
    """Which points go, and which come in their place, when a mouth is opened wider than in the picture."""

    lips: Aperture
    seen: Int[Tensor, "k"]
    """Rows of the visible points that are neither teeth nor lips."""
    instead: Int[Tensor, "m"]
    """Rows of the model's teeth behind them: as far as the picture shows, the person has none there."""
    rest: float
    """Height of the opening in the picture, units."""

    def fade(self, shown: Float[Tensor, "n"], vertices: Float[Tensor, "vertices 3"]) -> None:
        """Multiply what is ``shown`` of every point by what is left of it, in place."""
        torn = smoothstep(self.lips.height(vertices) - self.rest, *TORN)
        shown[self.seen] *= 1.0 - torn
        shown[self.instead] *= torn


def gap_of(points: HeadPoints, part: Int[Tensor, "n"], lips: Aperture, rest: Float[Tensor, "vertices 3"]) -> Gap:
    """Find a mouth's gap; ``rest``: the head model's vertices at the source expression."""
    seen = part[: points.visible_count] == Part.GUMS
    teeth = torch.nonzero((part == Part.TEETH) & (points.labels == int(Label.INTERIOR))).squeeze(-1)
    return Gap(lips, torch.nonzero(seen).squeeze(-1), points.behind(teeth, seen), float(lips.height(rest)))
