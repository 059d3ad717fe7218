"""Losses on pictures: weighted absolute difference, edges, and a patch discriminator's opinion (paper D.5)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def weighted_l1(
    image: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"], weight: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """Return the mean absolute difference, each pixel counting by its weight."""
    return _weighted((image - truth).abs(), weight)


def edge_loss(
    image: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"], weight: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """Return the mean absolute difference of the differences between neighbours: what blur changes most."""
    across = _weighted((image.diff(dim=-1) - truth.diff(dim=-1)).abs(), weight[..., 1:])
    down = _weighted((image.diff(dim=-2) - truth.diff(dim=-2)).abs(), weight[..., 1:, :])
    return across + down


def _weighted(values: Float[Tensor, "b c h w"], weight: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    return (values * weight).sum() / (weight.sum() * values.shape[1]).clamp(min=1e-6)


class PatchDiscriminator(nn.Module):
    """Says of every patch of a picture whether it looks real, given the picture it was made from (Isola et al. 2017).

    Spectral normalisation keeps it from growing sure faster than the other learns (Miyato et al. 2018).
    """

    def __init__(self, channels: int = 6, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        body, count = [], channels
        for layer in range(layers):
            wide = width * 2 ** min(layer, 3)
            body += [nn.utils.parametrizations.spectral_norm(nn.Conv2d(count, wide, 4, 2, 1)), nn.LeakyReLU(0.2)]
            count = wide
        self.body = nn.Sequential(*body, nn.utils.parametrizations.spectral_norm(nn.Conv2d(count, 1, 3, 1, 1)))

    def forward(
        self, image: Float[Tensor, "b 3 h w"], condition: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b 1 h2 w2"]:
        """Return scores, above 0 for what looks real."""
        return self.body(torch.cat((image, condition), dim=1) * 2.0 - 1.0)


def generator_loss(scores: Float[Tensor, "b 1 h w"], weight: Float[Tensor, "b 1 height width"]) -> Float[Tensor, ""]:
    """Return how unreal the made picture looks (hinge form)."""
    return _weighted(-scores, functional.adaptive_avg_pool2d(weight, scores.shape[-2:]))


def discriminator_loss(
    real: Float[Tensor, "b 1 h w"], made: Float[Tensor, "b 1 h w"], weight: Float[Tensor, "b 1 height width"]
) -> Float[Tensor, ""]:
    """Return how badly real and made are told apart (hinge form)."""
    small = functional.adaptive_avg_pool2d(weight, real.shape[-2:])
    return _weighted(functional.relu(1.0 - real), small) + _weighted(functional.relu(1.0 + made), small)
