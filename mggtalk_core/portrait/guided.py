"""Edge-aware smoothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np


def guided_filter(guide: np.ndarray, target: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Fit ``target`` [H,W] in every window as an affine function of the colours of ``guide`` [H,W,3].

    The edges of the target move onto the edges of the guide. He, Sun and Tang 2010, "Guided Image Filtering",
    equations 19-21. ``epsilon`` is a variance of colours: edges weaker than its root are smoothed over.
    """
    import cv2

    window = (2 * radius + 1, 2 * radius + 1)
    mean = partial(cv2.blur, ksize=window, borderType=cv2.BORDER_REFLECT)
    guide, target = guide.astype(np.float32), target.astype(np.float32)
    guide_mean, target_mean = mean(guide), mean(target)
    covariance = mean(guide * target[..., None]) - guide_mean * target_mean[..., None]
    slope = _solve_symmetric(_variance(guide, guide_mean, mean, epsilon), covariance)
    offset = target_mean - (slope * guide_mean).sum(axis=-1)
    return (mean(slope) * guide).sum(axis=-1) + mean(offset)


def _variance(
    guide: np.ndarray, guide_mean: np.ndarray, mean: Callable[[np.ndarray], np.ndarray], epsilon: float
) -> list[np.ndarray]:
    """Return the upper triangle (rr, rg, rb, gg, gb, bb) of the windows' colour covariance, plus ``epsilon``."""
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    return [
        mean(guide[..., i] * guide[..., j]) - guide_mean[..., i] * guide_mean[..., j] + (epsilon if i == j else 0.0)
        for i, j in pairs
    ]


def _solve_symmetric(matrix: list[np.ndarray], right: np.ndarray) -> np.ndarray:
    """Solve the symmetric 3x3 system of every pixel by cofactors; ``matrix`` as `_variance` gives it."""
    rr, rg, rb, gg, gb, bb = matrix
    cofactors = (
        gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb,
        rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg,
    )  # fmt: skip
    c00, c01, c02, c11, c12, c22 = cofactors
    determinant = rr * c00 + rg * c01 + rb * c02
    r, g, b = right[..., 0], right[..., 1], right[..., 2]
    rows = (c00 * r + c01 * g + c02 * b, c01 * r + c11 * g + c12 * b, c02 * r + c12 * g + c22 * b)
    return np.stack(rows, axis=-1) / determinant[..., None]
