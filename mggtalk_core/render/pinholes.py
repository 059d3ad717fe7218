"""Closes the gaps that open inside the head where Gaussians have moved apart."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .rendering import Rendering

_WIDEST = 9
"""Gaps up to this many pixels wide are pinholes; wider ones are real openings."""
_LEVELS = 4
"""Levels of the colour pyramid: its coarsest cell, 2^4 pixels, is wider than any pinhole."""


def fill_pinholes(rendering: Rendering) -> tuple[Float[Tensor, "3 height width"], Float[Tensor, "1 height width"]]:
    """Return the premultiplied colour and alpha with pinholes filled from the colours around them (push-pull).

    Only gaps enclosed by the head are touched: what is joined to the outside, as between strands of hair at the
    silhouette, stays open. A picture without pinholes is returned as it is.
    """
    alpha = rendering.alpha
    missing = torch.from_numpy(_missing_alpha(alpha[0].cpu().numpy())).to(alpha)[None]
    rows, columns = torch.nonzero(missing[0].amax(dim=1)), torch.nonzero(missing[0].amax(dim=0))
    if rows.numel() == 0:
        return rendering.rgb, alpha
    reach = 2**_LEVELS
    window = tuple(
        slice(max(int(line.min()) - reach, 0), int(line.max()) + 1 + reach) for line in (rows[:, 0], columns[:, 0])
    )
    color = push_pull(rendering.rgb[:, *window], alpha[:, *window], _LEVELS)
    rgb = rendering.rgb.clone()
    rgb[:, *window] += missing[:, *window] * color
    return rgb, alpha + missing


def push_pull(
    rgb: Float[Tensor, "3 height width"], alpha: Float[Tensor, "1 height width"], levels: int
) -> Float[Tensor, "3 height width"]:
    """Spread colour into the gaps of a premultiplied picture: each gap takes the finest level that covers it.

    Returns colour that is no longer premultiplied; black where even the coarsest level is empty (Gortler et al. 1996).
    """
    if levels == 0 or min(rgb.shape[1:]) < 2:
        return rgb / alpha.clamp(min=1e-6)
    pool = torch.nn.functional.avg_pool2d
    coarse = pool(torch.cat((rgb, alpha))[None], 2, ceil_mode=True, count_include_pad=False)[0]
    # A cell that is half covered knows its colour: coarser levels only fill what is emptier.
    boost = (2 * coarse[3:].clamp(max=0.5)).clamp(min=1e-6) / coarse[3:].clamp(min=1e-6)
    below = push_pull(coarse[:3] * boost, coarse[3:] * boost, levels - 1)
    spread = torch.nn.functional.interpolate(below[None], rgb.shape[1:], mode="bilinear", align_corners=False)[0]
    return rgb + (1.0 - alpha) * spread


def _missing_alpha(alpha: np.ndarray) -> np.ndarray:
    """Return how much alpha the pinholes lack; 0 elsewhere.

    Takes and returns float32 [H,W]. Works on bytes, so that nothing fainter than 1/255 counts as a gap.
    """
    import cv2

    coarse = np.rint(alpha * 255.0).astype(np.uint8)
    kernel = np.ones((_WIDEST, _WIDEST), np.uint8)
    # Beyond the picture's border there is no head, so a gap at the border is open.
    closed = cv2.morphologyEx(cv2.copyMakeBorder(coarse, *[_WIDEST] * 4, cv2.BORDER_CONSTANT), cv2.MORPH_CLOSE, kernel)
    closed = closed[_WIDEST:-_WIDEST, _WIDEST:-_WIDEST]
    outside = cv2.copyMakeBorder((coarse < 128).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(outside, None, (0, 0), 2)
    inside = (outside[1:-1, 1:-1] != 2).astype(np.uint8)
    # The silhouette's own soft edge is left alone.
    inner = cv2.erode(inside, np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    missing = np.where((inner > 0) & (closed > coarse), closed / np.float32(255.0) - alpha, 0.0)
    return np.clip(missing, 0.0, 1.0).astype(np.float32)
