"""Distances between pictures, and correlation."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Image = Float[Tensor, "channels height width"]
Mask = Float[Tensor, "1 height width"]

WINDOW = 11
"""Edge in pixels of the Gaussian window of SSIM; its standard deviation is 1.5."""


def psnr(image: Image, truth: Image, mask: Mask | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB for values in 0..1; infinite for equal pictures.

    ``mask`` weighs the pixels (0..1); the result is NaN where it is empty.
    """
    return _decibels(_weighted_mean(_square_error(image, truth), mask))


def ssim(image: Image, truth: Image, mask: Mask | None = None) -> float:
    """Return the structural similarity (Wang et al. 2004, eq. 13), -1..1, mean over channels and pixels.

    Gaussian window of 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, values in 0..1; windows that reach over the border
    are left out. ``mask`` weighs the windows by their centre; NaN where it is empty or the picture is below 11 pixels.
    """
    if min(image.shape[-2:]) < WINDOW:
        return math.nan
    return _weighted_mean(ssim_map(image, truth), _valid(mask))


def regional_scores(image: Image, truth: Image, masks: dict[str, Mask]) -> dict[str, float]:
    """Return ``psnr_`` and ``ssim_`` of every region: as `psnr` and `ssim`, but all maps are made only once."""
    error, similarity = _square_error(image, truth), ssim_map(image, truth)
    scores = {f"psnr_{name}": _decibels(_weighted_mean(error, mask)) for name, mask in masks.items()}
    return scores | {f"ssim_{name}": _weighted_mean(similarity, _valid(mask)) for name, mask in masks.items()}


def ssim_map(image: Image, truth: Image) -> Float[Tensor, "height-10 width-10"]:
    """Return the structural similarity of every window (Wang et al. 2004, eq. 13), mean over the channels."""
    x, y = (np.ascontiguousarray(each.permute(1, 2, 0).float().cpu().numpy()) for each in (image, truth))
    mean_x, mean_y = _blurred(x), _blurred(y)
    square_x, square_y, product = mean_x * mean_x, mean_y * mean_y, mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    contrast = _blurred(x * x) + _blurred(y * y) - square_x - square_y + c2
    structure = 2.0 * (_blurred(x * y) - product) + c2
    similarity = (2.0 * product + c1) * structure / ((square_x + square_y + c1) * contrast)
    return torch.from_numpy(similarity.mean(axis=2))


def gradient_energy(image: Image, mask: Mask) -> float:
    """Return the root mean square, per channel, of the differences between neighbouring pixels under a mask."""
    across, down = image.diff(dim=-1)[:, 1:].square(), image.diff(dim=-2)[:, :, 1:].square()
    weight = mask[:, 1:, 1:]
    return float(((across + down) * weight).sum().div(len(image) * weight.sum().clamp(min=1.0)).sqrt())


def sharpness(image: Image, truth: Image, mask: Mask) -> float:
    """Return the gradient energy over the truth's: 1 as sharp as the truth, less where blurred; NaN if it is flat."""
    wanted = gradient_energy(truth, mask)
    return gradient_energy(image, mask) / wanted if wanted > 0.0 else math.nan


def _square_error(image: Image, truth: Image) -> Float[Tensor, "height width"]:
    return (image.float() - truth.float()).square().mean(dim=0)


def _decibels(error: float) -> float:
    return math.inf if error == 0.0 else -10.0 * math.log10(error)


def _weighted_mean(values: Float[Tensor, "height width"], mask: Mask | None) -> float:
    values = values.double()
    if mask is None:
        return float(values.mean())
    weight = mask[0].to(values)
    total = float(weight.sum())
    return float((values * weight).sum()) / total if total > 0.0 else math.nan


def _valid(mask: Mask | None) -> Mask | None:
    """Leave out the windows that reach over the border."""
    half = WINDOW // 2
    return None if mask is None else mask[:, half:-half, half:-half]


def _blurred(image: Float[np.ndarray, "height width c"]) -> Float[np.ndarray, "height-10 width-10 c"]:
    import cv2

    half = WINDOW // 2
    offsets = np.arange(WINDOW) - half
    kernel = np.exp(-0.5 * (offsets / 1.5) ** 2)
    kernel /= kernel.sum()
    blurred = cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel)
    return blurred.reshape(image.shape)[half:-half, half:-half]


def correlation(first: Float[Tensor, "T"], second: Float[Tensor, "T"]) -> float:
    """Return Pearson's correlation of two curves; NaN where one of them does not move or has under three points."""
    if len(first) < 3:
        return math.nan
    x, y = first.double() - first.double().mean(), second.double() - second.double().mean()
    size = float(x.norm() * y.norm())
    return float(x @ y) / size if size > 1e-12 else math.nan
