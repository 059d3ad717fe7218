"""The Gaussian decoder ``D_gs``: scale, rotation, colour and opacity of the visible points (paper eq. 4, D.3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...portrait.blendshapes import BLENDSHAPES
from .config import GaussianConfig
from .layers import UNet, silence
from .offsets import TOTAL

EXPRESSION = 16
"""Channels of the expressions, where they stand in for the points."""
MOVED = 10.0
"""Displacements are tenths of a unit and less."""


class Geometry(nn.Module):
    """What a decoder knows of the driven geometry: the position map, or the two expressions in its place."""

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__()
        self._displacement = config.displacement
        self.expression = None
        self.channels = 6 if config.displacement else 3
        if not config.switches.pointcloud_input:
            self.expression = nn.Linear(2 * len(BLENDSHAPES), EXPRESSION)
            self.channels = EXPRESSION

    def forward(
        self, driven: Float[Tensor, "b 3 h w"], rest: Float[Tensor, "b 3 h w"], betas: Float[Tensor, "b 104"]
    ) -> Float[Tensor, "b c h w"]:
        """Return the channels that stand for the geometry.

        Args:
            driven: position map of ``P_d``, 0 where there is no point.
            rest: that of ``P_f``.
            betas: ``beta_d`` and ``beta_s``.
        """
        if self.expression is not None:
            return self.expression(betas)[..., None, None].expand(-1, -1, *driven.shape[-2:])
        return torch.cat((driven, MOVED * (driven - rest)), dim=1) if self._displacement else driven


class GaussianDecoder(nn.Module):
    """A UNet from the position map and ``F`` to offsets of the analytic parameters, which are zero at first.

    Without a symmetric decoder it sees both halves, and makes both.
    """

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__()
        self.halves = 1 if config.switches.symmetric_decoder else 2
        self.geometry = Geometry(config)
        channels = config.features + self.halves * self.geometry.channels
        self.body = UNet(channels, self.halves * TOTAL, config.decoder, config.blocks)
        silence(self.body.leave)

    def forward(
        self,
        features: Float[Tensor, "b f h w"],
        driven: Float[Tensor, "b halves 3 h w"],
        rest: Float[Tensor, "b halves 3 h w"],
        betas: Float[Tensor, "b 104"],
    ) -> Float[Tensor, "b halves 20 h w"]:
        """Return the offsets of every cell's Gaussians; see `Geometry` for the arguments."""
        seen = [self.geometry(driven[:, half], rest[:, half], betas) for half in range(self.halves)]
        offsets = self.body(torch.cat((features, *seen), dim=1))  # [B, halves * 20, H, W]
        return offsets.unflatten(1, (self.halves, TOTAL))
