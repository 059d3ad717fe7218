"""Parent-child densification: where every Gaussian's child lies and how it differs from it (paper eq. 6)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from ...residual import start
from .config import GaussianConfig
from .layers import silence
from .offsets import TOTAL, WIDTHS

CHILD = (3, WIDTHS[2], WIDTHS[3])
"""Numbers of a child's place, colour and opacity; size and rotation are its parent's: both lie on one surface."""
REACH = 4.0
"""A child stays within this many of its parent's largest standard deviations of the place where it starts."""


class Densifier(nn.Module):
    """Looks at one cell at a time: its features and its parents' offsets."""

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__()
        self.enter = nn.Conv2d(config.features + TOTAL, config.densify, 1)
        self.leave = nn.Conv2d(config.densify, sum(CHILD), 1)
        start(self)
        silence(self.leave)

    def forward(
        self, features: Float[Tensor, "b f h w"], offsets: Float[Tensor, "b 20 h w"]
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 13 h w"]]:
        """Return by how many standard deviations children are moved (canonical axes), and their colour and opacity.

        Both are relative to where they start and to what their parents have become.
        """
        said = self.leave(relu(self.enter(torch.cat((features, offsets), dim=1))))  # [B, 16, H, W]
        return REACH * torch.tanh(said[:, :3] / REACH), said[:, 3:]
