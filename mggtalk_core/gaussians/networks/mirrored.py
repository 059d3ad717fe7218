"""The symmetric decoder ``D_gs^s``: Gaussians that the picture does not show, from those it does (paper eq. 5, 10)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from ...residual import blocks, start
from .config import GaussianConfig
from .decoder import Geometry
from .layers import FIRST_SHARE, silence
from .offsets import WIDTHS

PARAMETERS = ("scale", "rotation", "colour", "opacity")


class Bias(nn.Module):
    """One of ``D_s^s, D_r^s, D_c^s, D_o^s``: a convolutional network on ``F``, ``P_d^s`` and its own parameter."""

    def __init__(self, channels: int, outputs: int, config: GaussianConfig) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, config.mirrored, 3, padding=1)
        self.body = blocks(config.mirrored, config.mirrored_blocks, FIRST_SHARE)
        self.leave = nn.Conv2d(config.mirrored, outputs, 3, padding=1)
        start(self)
        silence(self.leave)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out h w"]:
        """Return the offset to the parameter."""
        return self.leave(relu(self.body(self.enter(x))))


class MirroredDecoder(nn.Module):
    """Four networks, each of which adds to one reflected parameter of the visible half."""

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__()
        self._guided = config.switches.gaussians_in_symmetric
        self.geometry = Geometry(config)
        known = config.features + self.geometry.channels
        self.networks = nn.ModuleDict(
            {
                name: Bias(known + self._guided * width, width, config)
                for name, width in zip(PARAMETERS, WIDTHS, strict=True)
            }
        )

    def forward(
        self,
        features: Float[Tensor, "b f h w"],
        driven: Float[Tensor, "b 3 h w"],
        rest: Float[Tensor, "b 3 h w"],
        betas: Float[Tensor, "b 104"],
        reflected: Float[Tensor, "b 20 h w"],
    ) -> Float[Tensor, "b 20 h w"]:
        """Return the offsets to ``reflected``, the mirrored parameters of ``G_d`` (eq. 10).

        Args:
            features: ``F``, in the cells of the visible twins.
            driven: position map of ``P_d^s`` in those cells; ``rest``: that of ``P_f^s``.
            rest: see there.
            betas: ``beta_d`` and ``beta_s``.
            reflected: `parameters` of the twins, reflected; 0 where there are none.
        """
        known = torch.cat((features, self.geometry(driven, rest, betas)), dim=1)  # [B, f + geometry, H, W]
        offsets = []
        for network, own in zip(self.networks.values(), reflected.split(WIDTHS, dim=1), strict=True):
            offsets.append(network(torch.cat((known, own), dim=1) if self._guided else known))
        return torch.cat(offsets, dim=1)  # [B, 20, H, W]
