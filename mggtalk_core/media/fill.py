"""Filling of holes in images: push-pull pyramid with relaxation."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

RELAXATIONS = 8
"""Jacobi steps per level; they bring the fill close to the membrane (the solution of Laplace's equation)."""


def fill(
    image: Float[Tensor, "channels height width"], known: Float[Tensor, "1 height width"]
) -> Float[Tensor, "channels height width"]:
    """Fill the pixels that are not known smoothly from those that are.

    Push-pull (Gortler et al. 1996, The Lumigraph, section 3.4): means of the known pixels are pushed up a pyramid and
    pulled down into the holes; relaxation at every level removes the blocks this alone would leave.

    Args:
        image: values of any range; what stands in the holes, NaN too, does not matter.
        known: 1 where the image is known (kept exactly), 0 in the holes; in between, known colour and fill are mixed.

    Returns:
        The filled image; 0 everywhere if nothing is known.
    """
    known = known.to(image.dtype)
    clean = torch.where(known > 0.0, image, 0.0)
    filled = _pull(clean[None], known[None])[0]
    return torch.where(known >= 1.0, image, filled)


def _pull(image: Float[Tensor, "1 c h w"], weight: Float[Tensor, "1 1 h w"]) -> Float[Tensor, "1 c h w"]:
    """Return ``image`` where ``weight`` is 1 and the fill from the coarser levels where it is 0."""
    height, width = image.shape[-2:]
    if height == width == 1 or bool((weight >= 1.0).all()):
        return image
    coarse, coarse_weight = _push(image, weight)
    # Clamping coordinates at the border, as interpolate does, keeps the fill flat there.
    below = functional.interpolate(_pull(coarse, coarse_weight), scale_factor=2.0, mode="bilinear")
    filled = torch.lerp(below[..., :height, :width], image, weight)
    loops_may = filled.device.type == "cpu" and filled.dtype == torch.float32 and not filled.requires_grad
    return (_relaxed if loops_may else _plain_relaxed)(filled, image, weight)


def _push(image: Float[Tensor, "1 c h w"], weight: Float[Tensor, "1 1 h w"]) -> tuple[Tensor, Tensor]:
    """Return weighted means over 2x2 pixels, and their weight: full as soon as one of the four is known."""
    height, width = image.shape[-2:]
    padding = (0, width % 2, 0, height % 2)
    weight = functional.pad(weight, padding)
    colour = functional.pad(image, padding) * weight
    total = _sum_of_four(weight)
    return _sum_of_four(colour) / total.clamp(min=1e-12), total.clamp(max=1.0)


def _sum_of_four(image: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 c h2 w2"]:
    """Return sums over 2x2 pixels; far faster than torch's avg_pool2d."""
    upper, lower = image[..., ::2, :], image[..., 1::2, :]
    return upper[..., ::2] + upper[..., 1::2] + lower[..., ::2] + lower[..., 1::2]


def _relaxed(
    filled: Float[Tensor, "1 c h w"], image: Float[Tensor, "1 c h w"], weight: Float[Tensor, "1 1 h w"]
) -> Float[Tensor, "1 c h w"]:
    """Return the fill after the relaxations, writing over ``filled``; its plain twin is `_plain_relaxed`."""
    from .fill_kernels import relax

    before, kept, share = (each.contiguous().numpy() for each in (filled[0], image[0], weight[0, 0]))
    after = np.empty_like(before)
    for _ in range(RELAXATIONS):
        relax(before, kept, share, after)
        before, after = after, before
    return torch.from_numpy(before)[None]


def _plain_relaxed(
    filled: Float[Tensor, "1 c h w"], image: Float[Tensor, "1 c h w"], weight: Float[Tensor, "1 1 h w"]
) -> Float[Tensor, "1 c h w"]:
    for _ in range(RELAXATIONS):
        filled = torch.lerp(_neighbours_mean(filled), image, weight)
    return filled


def _neighbours_mean(image: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 c h w"]:
    padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    return 0.25 * (rows + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:])
