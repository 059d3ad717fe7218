"""Closes the gaps that open inside the head where Gaussians have moved apart."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
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

    covered = rendering.alpha[0].detach().cpu().numpy()
    row, column, missing = _pinholes(covered)
    if len(row) == 0:
        return rendering.rgb, rendering.alpha
    window = _grown(row), _grown(column)
    picture = cv2.merge([*(plane[window] for plane in rendering.rgb.detach().cpu().numpy()), covered[window]])
    fill = _spread_at(picture, row - window[0].start, column - window[1].start) * missing[:, None]
    rgb, alpha = rendering.rgb.clone(), rendering.alpha.clone()
    place = tuple(torch.from_numpy(each).to(rgb.device) for each in (row, column))
    rgb[:, *place] += torch.from_numpy(fill.T).to(rgb)
    alpha[0, *place] += torch.from_numpy(missing).to(rgb)
    return rgb, alpha


def _spread_at(
    picture: Float[np.ndarray, "height width 4"], row: Int[np.ndarray, "k"], column: Int[np.ndarray, "k"]
) -> Float[np.ndarray, "k 3"]:
    """Return what `push_pull` says about some pixels; the finest level is worked out nowhere else."""
    coarse = push_pull(_halved(picture), _LEVELS - 1)
    known = picture[row, column]
    above, below, down = _between(row, picture.shape[0], coarse.shape[0])
    before, behind, right = _between(column, picture.shape[1], coarse.shape[1])
    upper = coarse[above, before] + right * (coarse[above, behind] - coarse[above, before])
    lower = coarse[below, before] + right * (coarse[below, behind] - coarse[below, before])
    return known[:, :3] + (1.0 - known[:, 3:]) * (upper + down * (lower - upper))


def _between(
    place: Int[np.ndarray, "k"], fine: int, rough: int
) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"], Float[np.ndarray, "k 1"]]:
    """Return the two of ``rough`` cells that each of ``fine`` ones lies between, and the share of the latter."""
    middle = np.maximum((place + 0.5) * (rough / fine) - 0.5, 0.0)
    first = middle.astype(np.int64)
    return first, np.minimum(first + 1, rough - 1), (middle - first).astype(np.float32)[:, None]


def push_pull(picture: Float[np.ndarray, "height width 4"], levels: int) -> Float[np.ndarray, "height width 3"]:
    """Spread colour into the gaps of a premultiplied picture: each gap takes the finest level that covers it.

    Returns colour that is no longer premultiplied; black where even the coarsest level is empty (Gortler et al. 1996).
    """
    import cv2

    color, alpha = np.ascontiguousarray(picture[..., :3]), picture[..., 3:]
    height, width = picture.shape[:2]
    if levels == 0 or min(height, width) < 2:
        return color / np.maximum(alpha, 1e-6)
    spread = cv2.resize(push_pull(_halved(picture), levels - 1), (width, height), interpolation=cv2.INTER_LINEAR)
    spread *= 1.0 - alpha
    return color + spread


def _halved(picture: Float[np.ndarray, "height width 4"]) -> Float[np.ndarray, "height2 width2 4"]:
    """Return a premultiplied picture at half the resolution, where less than half covered as thin as it is."""
    import cv2

    height, width = picture.shape[:2]
    coarse = cv2.resize(picture, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    # A cell that is half covered knows its colour: coarser levels only fill what is emptier.
    coarse *= np.minimum(1.0 / np.maximum(coarse[..., 3:], 1e-6), 2.0)
    return coarse


def _grown(places: Int[np.ndarray, "k"]) -> slice:
    """Return the range of some places, widened to whole cells of the coarsest level and by one cell on either side."""
    cell = 2**_LEVELS
    return slice(max(int(places.min()) // cell - 1, 0) * cell, (int(places.max()) // cell + 2) * cell)


def _pinholes(
    alpha: Float[np.ndarray, "height width"],
) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Return row and column of the pinholes' pixels, and how much alpha each lacks, as float32.

    Works on bytes, so that nothing fainter than 1/255 counts as a gap, and no farther than the head reaches.
    """
    import cv2

    coarse = cv2.convertScaleAbs(alpha, alpha=255.0)
    left, top, width, height = cv2.boundingRect(coarse)
    if width == 0:
        nowhere = np.empty(0, np.int64)
        return nowhere, nowhere, np.empty(0, np.float32)
    head = coarse[top : top + height, left : left + width]
    kernel = np.ones((_WIDEST, _WIDEST), np.uint8)
    # Beyond the picture's border there is no head, so a gap at the border is open.
    around = cv2.copyMakeBorder(head, *[_WIDEST] * 4, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(around, cv2.MORPH_CLOSE, kernel)
    _, gaps = cv2.connectedComponents((around < 128).astype(np.uint8), connectivity=4)
    opens = np.zeros(gaps.max() + 1, np.uint8)
    opens[gaps[closed < 128]] = 1  # a gap with a part too wide to close is a real opening, all of it
    picture = (slice(_WIDEST, -_WIDEST),) * 2
    inside, closed = 1 - opens[gaps[picture]], closed[picture]
    # The soft edge of the silhouette and of real openings is left alone.
    inner = cv2.erode(inside, np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    row, column = np.nonzero((inner > 0) & (closed > head))
    row, column, wanted = row + top, column + left, closed[row, column]
    missing = wanted / np.float32(255.0) - alpha[row, column]
    lacking = missing > 0.0
    return row[lacking], column[lacking], missing[lacking].astype(np.float32)
