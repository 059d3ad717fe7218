"""Affine resampling of pictures in continuous coordinates: the centre of the first pixel is (0.5, 0.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Region:
    """A rotated square in a picture."""

    center: np.ndarray
    """Centre (x, y) in pixels."""
    size: float
    """Edge in pixels."""
    angle: float = 0.0
    """Angle of the square's x axis in radians, clockwise on the screen."""

    def to_crop(self, edge: int, *, flip: bool = False) -> np.ndarray:
        """Return the affine map [2,3] from picture pixels to a crop of ``edge`` pixels, mirrored when ``flip``."""
        scale = edge / self.size
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        linear = np.array([[cos, sin], [-sin, cos]])
        if flip:
            linear[0] *= -1
        offset = edge / 2 - linear @ self.center
        return np.concatenate((linear, offset[:, None]), axis=1)


def invert(transform: np.ndarray) -> np.ndarray:
    """Invert an affine map [2,3]."""
    linear = np.linalg.inv(transform[:, :2])
    return np.concatenate((linear, -(linear @ transform[:, 2:])), axis=1)


def apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points [N,2] by the affine map [2,3]."""
    return points @ transform[:, :2].T + transform[:, 2]


def similarity(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Return the turn, scale and shift [2,3] that bring points [N,2] closest to others (least squares)."""
    first, second = ((each - each.mean(axis=0)) @ np.array([1.0, 1.0j]) for each in (points, onto))
    turn = np.vdot(first, second) / max(np.vdot(first, first).real, 1e-12)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack((linear, onto.mean(axis=0) - linear @ points.mean(axis=0)))


def to_indices(transform: np.ndarray) -> np.ndarray:
    """Turn a map between continuous coordinates into one between pixel indices, which OpenCV counts from 0."""
    offset = transform[:, :2].sum(axis=1) * 0.5 + transform[:, 2] - 0.5
    return np.concatenate((transform[:, :2], offset[:, None]), axis=1)


def warp(
    image: np.ndarray, transform: np.ndarray, size: tuple[int, int], *, smooth: bool = False, replicate: bool = False
) -> np.ndarray:
    """Resample ``image`` [H,W,C] by the source-to-crop map ``transform`` [2,3] into ``size`` (width, height).

    Shrinking is antialiased: pixels are averaged over whole blocks first, then blurred by what is left. ``smooth``
    interpolates bicubically. Outside the picture is black, or its border pixels repeated when ``replicate``.
    """
    import cv2

    scale = math.sqrt(abs(np.linalg.det(transform[:, :2])))
    image, transform = _cut(image, transform, size, margin=4.0 / min(scale, 1.0))
    block = int(1.0 / scale + 1e-6)
    if block > 1:
        image, transform, scale = _shrink(image, transform, block)
    if scale < 1.0:
        # A crop pixel spans more than a source pixel: blur by what makes the two Gaussians' widths equal.
        sigma = 0.45 * math.sqrt(1.0 / scale**2 - 1.0)
        image = cv2.GaussianBlur(image, (0, 0), max(sigma, 1e-2), borderType=cv2.BORDER_REPLICATE)
    flags = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    border = cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT
    return cv2.warpAffine(image, to_indices(transform), size, flags=flags, borderMode=border)


def _shrink(image: np.ndarray, transform: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Average blocks of pixels; returns the small picture, the map from its pixels, and that map's scale."""
    import cv2

    height, width = image.shape[:2]
    pad_y, pad_x = -height % block, -width % block
    image = cv2.copyMakeBorder(image, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE)
    size = (image.shape[1] // block, image.shape[0] // block)
    transform = transform @ np.diag([block, block, 1.0])
    scale = math.sqrt(abs(np.linalg.det(transform[:, :2])))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), transform, scale


def _cut(
    image: np.ndarray, transform: np.ndarray, size: tuple[int, int], margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the picture to the pixels that the crop can see, so that the cost does not grow with the picture."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], [size[0], size[1]]], dtype=np.float64)
    seen = apply(invert(transform), corners)
    low = np.floor(seen.min(axis=0) - margin).astype(int)
    high = np.ceil(seen.max(axis=0) + margin).astype(int)
    # At least one pixel is kept: the crop may lie wholly outside.
    x0, y0 = int(np.clip(low[0], 0, width - 1)), int(np.clip(low[1], 0, height - 1))
    x1, y1 = int(np.clip(high[0], x0 + 1, width)), int(np.clip(high[1], y0 + 1, height))
    moved = transform.copy()
    moved[:, 2] += transform[:, :2] @ np.array([x0, y0])
    return image[y0:y1, x0:x1], moved
