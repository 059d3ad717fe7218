"""How much memory a training step of the Gaussian networks takes, by calculation."""

from __future__ import annotations

import torch
from torch import nn

from ...portrait.portrait import CROP_SIZE
from ...residual import Block
from .config import GaussianConfig
from .model import GaussianNetworks
from .offsets import TOTAL

_COPIES_OF_WEIGHTS = 5
"""Weights, gradients, their average, and Adam's two moments."""
_COPIES_OF_RESULTS = 4
"""Every convolution's result, the activation after it, and the gradients of both."""
_NUMBERS = 23
"""Of one Gaussian: place, rotation, scale, opacity and harmonics."""
_COPIES_OF_GAUSSIANS = 12
"""Analytic, offsets, unbounded, result, coarse and dense; each with its gradient."""


def memory_bytes(config: GaussianConfig) -> int:
    """Return the bytes of a training step on one picture in 32 bits, if every pixel had a point, a twin and children.

    Nothing is computed: the networks are built and run without numbers.
    """
    with torch.device("meta"):
        networks = GaussianNetworks(config)
    sizes: list[int] = []
    for module in networks.modules():
        if isinstance(module, (nn.Conv2d, Block)):
            module.register_forward_hook(lambda module, inputs, output: sizes.append(output.numel()))
    _run(networks, config)
    weights = sum(weight.numel() for weight in networks.parameters())
    gaussians = 4 * CROP_SIZE**2 * _NUMBERS
    return 4 * (_COPIES_OF_WEIGHTS * weights + _COPIES_OF_RESULTS * sum(sizes) + _COPIES_OF_GAUSSIANS * gaussians)


def _run(networks: GaussianNetworks, config: GaussianConfig) -> None:
    """Let every network run once, on the sizes of one picture."""
    grid, halves = config.grid, networks.decoder.halves

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, device="meta")

    features = networks.encoder(empty(1, 3, CROP_SIZE, CROP_SIZE), empty(1, 1, CROP_SIZE, CROP_SIZE))
    points, betas = empty(1, halves, 3, grid, grid), empty(1, 104)
    networks.decoder(features, points, points, betas)
    if networks.mirrored is not None:
        networks.mirrored(features, points[:, 0], points[:, 0], betas, empty(1, TOTAL, grid, grid))
    if networks.densifier is not None:
        networks.densifier(features.expand(2, -1, -1, -1), empty(2, TOTAL, grid, grid))
