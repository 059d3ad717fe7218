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
    import cv2

    alpha = rendering.alpha[0].detach().cpu().numpy()
    missing = _missing_alpha(alpha)
    x, y, width, height = cv2.boundingRect((missing > 0).astype(np.uint8))
    if width == 0:
        return rendering.rgb, rendering.alpha
    window = _grown(y, height), _grown(x, width)
    picture = cv2.merge([*(plane[window] for plane in rendering.rgb.detach().cpu().numpy()), alpha[window]])
    fill = push_pull(picture, _LEVELS) * missing[window][..., None]
    rgb = rendering.rgb.clone()
    rgb[:, window[0], window[1]] += torch.from_numpy(fill).permute(2, 0, 1).to(rgb)
    return rgb, rendering.alpha + torch.from_numpy(missing).to(rgb)


def push_pull(picture: Float[np.ndarray, "height width 4"], levels: int) -> Float[np.ndarray, "height width 3"]:
    """Spread colour into the gaps of a premultiplied picture: each gap takes the finest level that covers it.

    Returns colour that is no longer premultiplied; black where even the coarsest level is empty (Gortler et al. 1996).
    """
    import cv2

    color, alpha = np.ascontiguousarray(picture[..., :3]), picture[..., 3:]
    height, width = picture.shape[:2]
    if levels == 0 or min(height, width) < 2:
        return color / np.maximum(alpha, 1e-6)
    coarse = cv2.resize(picture, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    # A cell that is half covered knows its colour: coarser levels only fill what is emptier.
    coarse *= np.minimum(1.0 / np.maximum(coarse[..., 3:], 1e-6), 2.0)
    spread = cv2.resize(push_pull(coarse, levels - 1), (width, height), interpolation=cv2.INTER_LINEAR)
    spread *= 1.0 - alpha
    return color + spread


def _grown(start: int, length: int) -> slice:
    """Return a range widened to whole cells of the coarsest level, and one cell more on either side."""
    cell = 2**_LEVELS
    return slice(max(start // cell - 1, 0) * cell, (-(-(start + length) // cell) + 1) * cell)


def _missing_alpha(alpha: np.ndarray) -> np.ndarray:
    """Return how much alpha the pinholes lack; 0 elsewhere.

    Takes and returns float32 [H,W]. Works on bytes, so that nothing fainter than 1/255 counts as a gap.
    """
    import cv2

    coarse = np.rint(alpha * 255.0).astype(np.uint8)
    kernel = np.ones((_WIDEST, _WIDEST), np.uint8)
    # Beyond the picture's border there is no head, so a gap at the border is open.
    around = cv2.copyMakeBorder(coarse, *[_WIDEST] * 4, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(around, cv2.MORPH_CLOSE, kernel)
    _, gaps = cv2.connectedComponents((around < 128).astype(np.uint8), connectivity=4)
    opens = np.zeros(gaps.max() + 1, np.uint8)
    opens[gaps[closed < 128]] = 1  # a gap with a part too wide to close is a real opening, all of it
    picture = (slice(_WIDEST, -_WIDEST),) * 2
    inside, closed = 1 - opens[gaps][picture], closed[picture]
    # The soft edge of the silhouette and of real openings is left alone.
    inner = cv2.erode(inside, np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    missing = np.where((inner > 0) & (closed > coarse), closed / np.float32(255.0) - alpha, 0.0)
    return np.clip(missing, 0.0, 1.0).astype(np.float32)
