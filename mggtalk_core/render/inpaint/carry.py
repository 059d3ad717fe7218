"""The source's patch bent so that its contours lie where the driven frame has them: the eyes' network sees it so."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...spline import solve_spline

STIFFNESS = 3.75
"""How far the bending may pass the landmarks by, in the kernel's unit of pixels: they are not exact themselves."""
COARSE = 8
"""The bending is found at every so many pixels and interpolated."""


def carried(
    picture: Float[Tensor, "c h w"], before: Float[np.ndarray, "n 2"], after: Float[np.ndarray, "n 2"]
) -> Float[Tensor, "c h w"]:
    """Return a picture moved so that what lies at ``before`` comes to lie near ``after``; pixels, at least 3 points.

    At most 4 channels. Bicubic, the border repeated, clamped to 0..1.
    """
    import cv2

    height, width = picture.shape[1:]
    x, y = (np.arange(COARSE / 2.0, edge, COARSE) for edge in (width, height))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    flow = bending(after, before - after, grid).reshape(len(y), len(x), 2).astype(np.float32)
    flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
    flow[..., 0] += np.arange(width, dtype=np.float32)
    flow[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    rows = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    moved = cv2.remap(rows, flow, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(moved.clip(0.0, 1.0).transpose(2, 0, 1).copy())


def bending(
    points: Float[np.ndarray, "n 2"], values: Float[np.ndarray, "n k"], places: Float[np.ndarray, "m 2"]
) -> Float[np.ndarray, "m k"]:
    """Return smooth values at ``places`` that are close to those given at ``points``.

    The spline of kernel ``-r``, smoothed by `STIFFNESS`; see `solve_spline`.
    """
    origin, unit = points.mean(axis=0), max(float(np.ptp(points)), 1.0)  # centred, so that the equations are balanced

    def affine(spots: np.ndarray) -> np.ndarray:
        return np.column_stack((np.ones(len(spots)), (spots - origin) / unit))

    weights, slopes = solve_spline(_distances(points, points), affine(points), values, STIFFNESS)
    return affine(places) @ slopes + _distances(places, points) @ weights


def _distances(first: Float[np.ndarray, "m 2"], second: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "m n"]:
    across, down = (first[:, None, axis] - second[:, axis] for axis in (0, 1))
    return np.sqrt(across * across + down * down)  # hypot guards against overflow, and takes three times as long
