"""Distances between pictures, and correlation."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

WINDOW = 11
"""Edge in pixels of the Gaussian window of SSIM; its standard deviation is 1.5."""


def psnr(
    image: Float[Tensor, "channels height width"],
    truth: Float[Tensor, "channels height width"],
    mask: Float[Tensor, "1 height width"] | None = None,
) -> float:
    """Return the peak signal-to-noise ratio in dB for values in 0..1; infinite for equal pictures.

    ``mask`` weighs the pixels (0..1); the result is NaN where it is empty.
    """
    square = (image.double() - truth.double()).square().mean(dim=0)
    weight = torch.ones_like(square) if mask is None else mask[0].double()
    total = float(weight.sum())
    if total == 0.0:
        return math.nan
    error = float((square * weight).sum()) / total
    return math.inf if error == 0.0 else -10.0 * math.log10(error)


def ssim(
    image: Float[Tensor, "channels height width"],
    truth: Float[Tensor, "channels height width"],
    mask: Float[Tensor, "1 height width"] | None = None,
) -> float:
    """Return the structural similarity (Wang et al. 2004, eq. 13), -1..1, mean over channels and pixels.

    Gaussian window of 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, values in 0..1; windows that reach over the border
    are left out. ``mask`` weighs the windows by their centre; NaN where it is empty or the picture is below 11 pixels.
    """
    if min(image.shape[-2:]) < WINDOW:
        return math.nan
    similarity = ssim_map(image, truth).mean(dim=0)
    half = WINDOW // 2
    weight = torch.ones_like(similarity) if mask is None else mask[0, half:-half, half:-half].to(similarity)
    total = float(weight.sum())
    return float((similarity * weight).sum()) / total if total > 0.0 else math.nan


def ssim_map(
    image: Float[Tensor, "channels height width"], truth: Float[Tensor, "channels height width"]
) -> Float[Tensor, "channels height-10 width-10"]:
    """Return the structural similarity of every window (Wang et al. 2004, eq. 13)."""
    x, y = image.float(), truth.float()
    moments = _blurred(torch.stack((x, y, x * x, y * y, x * y)))
    mean_x, mean_y = moments[0], moments[1]
    variance_x, variance_y = moments[2] - mean_x.square(), moments[3] - mean_y.square()
    covariance = moments[4] - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    above = (2.0 * mean_x * mean_y + c1) * (2.0 * covariance + c2)
    return above / ((mean_x.square() + mean_y.square() + c1) * (variance_x + variance_y + c2))


def _blurred(images: Float[Tensor, "k c h w"]) -> Float[Tensor, "k c h-10 w-10"]:
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    kernel = torch.exp(-0.5 * (offsets / 1.5).square())
    kernel = (kernel / kernel.sum()).to(images)
    flat = images.flatten(0, 1)[:, None]
    rows = functional.conv2d(flat, kernel.view(1, 1, 1, WINDOW))
    blurred = functional.conv2d(rows, kernel.view(1, 1, WINDOW, 1))
    return blurred.view(*images.shape[:2], *blurred.shape[2:])


def correlation(first: Float[Tensor, "T"], second: Float[Tensor, "T"]) -> float:
    """Return Pearson's correlation of two curves; NaN where one of them does not move or has under three points."""
    if len(first) < 3:
        return math.nan
    x, y = first.double() - first.double().mean(), second.double() - second.double().mean()
    size = float(x.norm() * y.norm())
    return float(x @ y) / size if size > 1e-12 else math.nan
