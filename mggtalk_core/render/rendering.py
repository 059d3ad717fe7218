"""`Rendering`: what every splat rasteriser returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..record import Record


@dataclass(frozen=True)
class Rendering(Record):
    """The Gaussians seen by one camera."""

    rgb: Float[Tensor, "3 height width"]
    """Premultiplied colour; over the background, where one was given."""
    alpha: Float[Tensor, "1 height width"]
    """Coverage by the Gaussians, 0..1."""
    depth: Float[Tensor, "1 height width"]
    """Expected camera depth: the mean over what is seen, weighted by visibility; 0 where nothing is."""
    dropped: int = 0
    """Gaussians left out because a parameter was not finite."""


EMPTY = 1e-3
"""Coverage below which a pixel has no colour of its own: a quarter of the step between two bytes."""


def straight_colour(rendering: Rendering) -> Float[Tensor, "3 height width"]:
    """Return the colour without coverage multiplied in, as picture editors want it beside a mask; black where empty."""
    colour = rendering.rgb / rendering.alpha.clamp(min=EMPTY)
    return torch.where(rendering.alpha > EMPTY, colour, torch.zeros_like(colour))


def from_straight(colour: Float[Tensor, "3 height width"], alpha: Float[Tensor, "1 height width"]) -> Rendering:
    """Return the rendering that a straight colour and a mask stand for: the inverse of `straight_colour`."""
    return Rendering(colour * alpha, alpha, torch.zeros_like(alpha))
