"""What the networks of the Gaussian stage are built of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

FIRST_SHARE = 0.2
"""What a block adds before it has learned how much it should."""


class Block(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.share = nn.Parameter(torch.full((1, width, 1, 1), FIRST_SHARE))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return ``x`` and a little more."""
        return x + self.share * self.second(relu(self.first(relu(x))))


def blocks(width: int, count: int) -> nn.Sequential:
    """Return ``count`` residual blocks in a row."""
    return nn.Sequential(*(Block(width) for _ in range(count)))


class UNet(nn.Module):
    """A U-shaped network without normalisation; its levels halve the grid, and skips join the two ways."""

    def __init__(self, channels: int, outputs: int, widths: Sequence[int], count: int) -> None:
        super().__init__()
        steps = list(zip(widths[:-1], widths[1:], strict=True))
        self.enter = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.shrink = nn.ModuleList(nn.Conv2d(wide, deep, 3, stride=2, padding=1) for wide, deep in steps)
        self.down = nn.ModuleList(blocks(deep, count) for _, deep in steps)
        self.grow = nn.ModuleList(nn.Conv2d(deep, wide, 1) for wide, deep in steps)
        self.up = nn.ModuleList(blocks(wide, count) for wide, _ in steps)
        self.leave = nn.Conv2d(widths[0], outputs, 3, padding=1)
        start(self)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out h w"]:
        """Return a map of the same size, a multiple of 2 per level."""
        x = self.enter(x)  # [B, w0, H, W]
        skips = []
        for shrink, block in zip(self.shrink, self.down, strict=True):
            skips.append(x)
            x = block(shrink(relu(x)))  # [B, w(i+1), H / 2^(i+1), W / 2^(i+1)]
        for grow, block, skip in zip(reversed(self.grow), reversed(self.up), reversed(skips), strict=True):
            x = block(0.5 * (interpolate(grow(x), scale_factor=2.0, mode="nearest") + skip))  # the mean: no growth
        return self.leave(relu(x))  # [B, out, H, W]


def start(network: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers so that they keep the variance through rectifiers."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)


def silence(layer: nn.Conv2d | nn.Linear) -> None:
    """Let a last layer say nothing before it has learned: the analytic result is left as it is."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
