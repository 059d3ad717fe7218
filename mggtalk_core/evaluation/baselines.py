"""Plain ways to win a single figure: whoever claims to be better must beat them in the others."""

from __future__ import annotations

import torch

from .metrics import Image, Mask, psnr

SIGMAS = (0.6, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Standard deviations of the blurs that are tried, pixels."""


def ghost(first: Image, second: Image) -> Image:
    """Return half of each picture."""
    return (first + second) / 2.0


def blurred_to(image: Image, truth: Image, mask: Mask, target: float) -> Image:
    """Return the picture blurred as much as it takes to come as near to a PSNR under a mask as blurring can.

    It is one of a few steps of blur (`SIGMAS`) or the picture itself.
    """
    tried = [image, *(blurred(image, sigma) for sigma in SIGMAS)]
    return min(tried, key=lambda each: abs(psnr(each, truth, mask) - target))


def blurred(image: Image, sigma: float) -> Image:
    """Return the picture after a Gaussian blur of ``sigma`` pixels."""
    import cv2

    pixels = image.permute(1, 2, 0).contiguous().numpy()
    return torch.from_numpy(cv2.GaussianBlur(pixels, (0, 0), sigma)).permute(2, 0, 1)
