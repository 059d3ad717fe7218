"""What the networks of the Gaussian stage are built of."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from ...residual import blocks, start

FIRST_SHARE = 0.2
"""What a block adds before it has learned how much it should."""


class UNet(nn.Module):
    """A U-shaped network without normalisation; its levels halve the grid, and skips join the two ways."""

    def __init__(self, channels: int, outputs: int, widths: Sequence[int], count: int) -> None:
        super().__init__()
        steps = list(zip(widths[:-1], widths[1:], strict=True))
        self.enter = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.shrink = nn.ModuleList(nn.Conv2d(wide, deep, 3, stride=2, padding=1) for wide, deep in steps)
        self.down = nn.ModuleList(blocks(deep, count, FIRST_SHARE) for _, deep in steps)
        self.grow = nn.ModuleList(nn.Conv2d(deep, wide, 1) for wide, deep in steps)
        self.up = nn.ModuleList(blocks(wide, count, FIRST_SHARE) for wide, _ in steps)
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


def silence(layer: nn.Conv2d | nn.Linear) -> None:
    """Let a last layer say nothing before it has learned: the analytic result is left as it is."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
