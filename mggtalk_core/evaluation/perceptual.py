"""LPIPS with gradients: how different two pictures look (Zhang et al. 2018, version 0.1, AlexNet)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..weights.resolver import resolve

_WEIGHTS = "lpips_alexnet.safetensors"
_STRIDES = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
"""Stride and padding of the five convolutions; a 3x3 maximum of stride 2 stands before the second and the third."""
_MEAN, _SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_SMALLEST = 1e-10


class Lpips(nn.Module):
    """The distance; its own weights stay as they are, gradients reach the pictures."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the weights; ``path`` is that of the ledger's row when None.

        Raises:
            WeightsError: the weights are not there and cannot be fetched.
        """
        from safetensors.torch import load_file

        super().__init__()
        stored = load_file(path or resolve(_WEIGHTS))
        for layer in range(len(_STRIDES)):
            kernel = stored[f"AlexNet_0.Conv_{layer}.kernel"].permute(3, 2, 0, 1).contiguous()
            self.register_buffer(f"kernel{layer}", kernel)
            self.register_buffer(f"bias{layer}", stored[f"AlexNet_0.Conv_{layer}.bias"])
            share = stored[f"NetLinLayer_{layer}.Conv_0.kernel"].permute(3, 2, 0, 1).contiguous()
            self.register_buffer(f"share{layer}", share)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor(_SPREAD).view(1, 3, 1, 1))

    def forward(
        self,
        image: Float[Tensor, "b 3 h w"],
        truth: Float[Tensor, "b 3 h w"],
        weight: Float[Tensor, "b 1 h w"] | None = None,
    ) -> Float[Tensor, "b"]:
        """Return the distance of every pair of sRGB pictures in 0..1; ``weight`` says how much each pixel counts."""
        return self.regional(image, truth, {"": weight})[""]

    def regional(
        self,
        image: Float[Tensor, "b 3 h w"],
        truth: Float[Tensor, "#b 3 h w"],
        weights: Mapping[str, Float[Tensor, "#b 1 h w"] | None],
    ) -> dict[str, Float[Tensor, "b"]]:
        """Return the distances for several weights at once; one truth may serve all pictures."""
        totals = {name: image.new_zeros(len(image), dtype=torch.float32) for name in weights}
        with torch.no_grad():
            wanted = self._features(truth)
        for layer, (x, y) in enumerate(zip(self._features(image), wanted, strict=True)):
            difference = (_unit(x.float()) - _unit(y.float())).square()
            distance = functional.conv2d(difference, getattr(self, f"share{layer}").float())
            totals = {name: total + _mean(distance, weights[name]) for name, total in totals.items()}
        return totals

    def _features(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b c h2 w2"]]:
        x = (image * 2.0 - 1.0 - self.mean) / self.spread
        features = []
        for layer, (stride, padding) in enumerate(_STRIDES):
            if layer in (1, 2):
                x = functional.max_pool2d(x, 3, 2)
            kernel, bias = getattr(self, f"kernel{layer}"), getattr(self, f"bias{layer}")
            x = functional.relu(functional.conv2d(x, kernel, bias, stride, kernel.shape[-1] // 2 if layer else padding))
            features.append(x)
        return features


def _unit(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    # The root's gradient is infinite at zero: a pixel without any feature stays finite with a little inside the root.
    return features / ((features.square().sum(dim=1, keepdim=True) + _SMALLEST**2).sqrt() + _SMALLEST)


def _mean(distance: Float[Tensor, "b 1 h w"], weight: Float[Tensor, "b 1 height width"] | None) -> Float[Tensor, "b"]:
    if weight is None:
        return distance.mean(dim=(1, 2, 3))
    small = functional.adaptive_avg_pool2d(weight, distance.shape[-2:])
    return (distance * small).sum(dim=(1, 2, 3)) / small.sum(dim=(1, 2, 3)).clamp(min=1e-6)
