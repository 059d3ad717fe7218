"""`Rendering`: what every splat rasteriser returns."""

from __future__ import annotations

from dataclasses import dataclass

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
