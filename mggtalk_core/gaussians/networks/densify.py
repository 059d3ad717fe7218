"""Parent-child densification: where every Gaussian's child lies and how it differs from it (paper eq. 6)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from .config import GaussianConfig
from .layers import silence, start
from .offsets import TOTAL

PLACE = 3
"""Numbers by which a child is moved: canonical axes, in its parent's largest standard deviation."""
REACH = 4.0
"""A child stays within this many of them of the place where it starts."""


class Densifier(nn.Module):
    """Looks at one cell at a time: its features and its parents' offsets."""

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__()
        self.enter = nn.Conv2d(config.features + TOTAL, config.densify, 1)
        self.leave = nn.Conv2d(config.densify, PLACE + TOTAL, 1)
        start(self)
        silence(self.leave)

    def forward(
        self, features: Float[Tensor, "b f h w"], offsets: Float[Tensor, "b 20 h w"]
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 20 h w"]]:
        """Return the children's place and their parameters' offsets, both relative to their parents'."""
        said = self.leave(relu(self.enter(torch.cat((features, offsets), dim=1))))  # [B, 23, H, W]
        place, more = said.split((PLACE, TOTAL), dim=1)
        return REACH * torch.tanh(place / REACH), more
