"""What the convolutional networks are built of: residual blocks, and weights that keep the variance at first."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu


class Block(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, width: int, share: float) -> None:
        """Make a block of ``width`` channels that adds ``share`` of what it finds, before it has learned how much."""
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.scale = nn.Parameter(torch.full((1, width, 1, 1), share))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return ``x`` and a little more."""
        return x + self.scale * self.second(relu(self.first(relu(x)), inplace=True))


def blocks(width: int, count: int, share: float) -> nn.Sequential:
    """Return ``count`` residual blocks in a row."""
    return nn.Sequential(*(Block(width, share) for _ in range(count)))


def start(network: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers so that they keep the variance through rectifiers."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
