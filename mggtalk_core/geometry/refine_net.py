"""The network of the geometry refinement (paper 3.1, eq. 2): a small UNet over the position map."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

GEOMETRY = 13
"""Channels that come from the fit and the landmarks; see `refine.features`."""
PICTURE = 3
"""Channels of the picture, behind those."""
MIRRORED = (0, 3, 6, 9)
"""Channels that hold an x component: they change sign in the mirror."""


@dataclass(frozen=True)
class RefineConfig:
    """Sizes of the network."""

    grid: int
    """Edge of the chart."""
    widths: tuple[int, ...]
    """Channels per level, the grid halved from one to the next."""
    out_level: int
    """Level at which the correction is given: what landmarks tell of depth is smooth, so coarser than the grid."""
    with_picture: bool
    """Whether it sees the picture ``I_s^h`` too, or only landmarks and fit."""


EMBEDDED = RefineConfig(grid=32, widths=(24, 32, 48), out_level=1, with_picture=True)
PAPER = RefineConfig(grid=512, widths=(64, 128, 256, 512, 512, 512), out_level=0, with_picture=True)
CONFIGS = {"embedded": EMBEDDED, "geometry": replace(EMBEDDED, with_picture=False), "paper": PAPER}


class RefineNet(nn.Module):
    """Predicts how much farther from the camera every place of the chart lies; nothing, untrained."""

    def __init__(self, config: RefineConfig = EMBEDDED) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Conv2d(GEOMETRY + PICTURE * config.with_picture, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths, widths[1:]))  # noqa: B905
        self.blocks = nn.ModuleList(_block(width) for width in widths)
        climb = range(len(widths) - 2, config.out_level - 1, -1)
        self.up = nn.ModuleList(nn.Conv2d(widths[level + 1], widths[level], 1) for level in climb)
        self.mix = nn.ModuleList(_block(widths[level]) for level in climb)
        self.head = nn.Conv2d(widths[config.out_level], 1, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        edge = config.grid // 2**config.out_level
        self.always = nn.Parameter(torch.zeros(1, 1, edge, edge))
        """What the fit gets wrong about everybody: given its own place, it is learned in a few steps."""

    def forward(self, features: Float[Tensor, "b c grid grid"]) -> Float[Tensor, "b 1 grid grid"]:
        """Return the correction of depth in units of 10 cm.

        The picture's channels are ignored by a network without them. A head and its mirror image get mirrored
        corrections, exactly, once the network is trained: both are read and averaged.
        """
        features = features[:, : self.stem.in_channels]
        if self.training:
            return self._read(features)
        both = self._read(torch.cat((features, mirrored(features))))
        here, there = both.chunk(2)
        return 0.5 * (here + there.flip(-1))

    def _read(self, x: Float[Tensor, "b c grid grid"]) -> Float[Tensor, "b 1 grid grid"]:
        x = self.stem(x)
        x = x + self.blocks[0](x)
        levels = [x]
        for down, block in zip(self.down, self.blocks[1:], strict=True):
            x = down(relu(x))
            x = x + block(x)
            levels.append(x)
        for up, mix, skip in zip(self.up, self.mix, levels[-2::-1], strict=False):
            x = interpolate(up(relu(x)), size=skip.shape[-2:], mode="bilinear") + skip
            x = x + mix(x)
        coarse = self.head(relu(x)).float() + self.always
        return interpolate(coarse, size=(self.config.grid, self.config.grid), mode="bicubic")


def _block(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
    )


def mirrored(features: Float[Tensor, "b c grid grid"]) -> Float[Tensor, "b c grid grid"]:
    """Return the features of the mirror image of a head."""
    flipped = features.flip(-1).clone()
    flipped[:, list(MIRRORED)] *= -1.0
    return flipped
