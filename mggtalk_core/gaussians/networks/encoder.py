"""The identity encoder ``F``: what the head image says about the person, for every cell (paper 3.2)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from ...residual import start
from .config import GaussianConfig
from .layers import UNet

PICTURE = 4
"""Channels of the head image: colour under the matte, and the matte."""


class IdentityEncoder(nn.Module):
    """Strided convolutions from pixels to cells, then a UNet; it runs once per avatar."""

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__()
        width = config.encoder[0]
        halvings = int(math.log2(config.cell))
        channels = [PICTURE] + [max(8, width >> (halvings - 1 - level)) for level in range(halvings)]
        self.shrink = nn.ModuleList(
            nn.Conv2d(fine, coarse, 4, stride=2, padding=1)
            for fine, coarse in zip(channels[:-1], channels[1:], strict=True)
        )
        start(self)
        self.body = UNet(channels[-1], config.features, config.encoder, config.blocks)

    def forward(
        self, crop: Float[Tensor, "b 3 512 512"], matte: Float[Tensor, "b 1 512 512"]
    ) -> Float[Tensor, "b f h w"]:
        """Return ``F`` of the head image ``I_s^h`` on the grid of cells."""
        x = torch.cat(((crop - 0.5) * matte, matte), dim=1)  # [B, 4, 512, 512]
        for shrink in self.shrink:
            x = relu(shrink(x))  # [B, c, 512 / 2^i, 512 / 2^i]
        return self.body(x)  # [B, f, H, W]
