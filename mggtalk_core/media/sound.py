"""`Sound`: samples and their rate."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..record import Record


@dataclass(frozen=True)
class Sound(Record):
    """A piece of sound."""

    samples: Float[Tensor, "channels time"]
    """Samples in -1..1."""
    rate: int
    """Samples per second."""

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.samples.shape[-1] / self.rate
