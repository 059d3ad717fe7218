"""Parts of the picture that are scored apart."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .landmarks import eye_distance

EYES = (33, 133, 159, 145, 263, 362, 386, 374, 70, 300)
"""Corners, lids and outer brows: what a close-up of the eyes must hold."""
MOUTH = (61, 291, 0, 17, 13, 14)
"""Corners and the outer and inner middle of the lips."""


def face_mask(landmarks: Float[Tensor, "478 d"], height: int, width: int) -> Float[Tensor, "1 height width"]:
    """Return 1 inside the convex hull of the landmarks, 0 outside."""
    import cv2
    import numpy as np

    # Pixel centres lie at +0.5 here and at whole numbers in OpenCV.
    points = np.round(landmarks[:, :2].numpy() - 0.5).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points), 1)
    return torch.from_numpy(mask).float()[None]


def close_up(
    image: Float[Tensor, "3 height width"], landmarks: Float[Tensor, "478 d"], points: tuple[int, ...], size: int
) -> Float[Tensor, "3 size size"]:
    """Return a square of ``size`` pixels around some landmarks, as wide as the eyes and a quarter; black outside."""
    import cv2
    import numpy as np

    chosen = landmarks[list(points), :2]
    center = (chosen.amin(dim=0) + chosen.amax(dim=0)) / 2.0
    scale = size / float(1.25 * eye_distance(landmarks))
    # Continuous coordinates map as size/2 + scale * (p - center); OpenCV counts from pixel centres.
    shift = size / 2.0 - scale * center.double().numpy() + 0.5 * scale - 0.5
    matrix = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    flags = cv2.INTER_CUBIC if scale > 1.0 else cv2.INTER_AREA
    crop = cv2.warpAffine(pixels, matrix, (size, size), flags=flags)
    return torch.from_numpy(crop).permute(2, 0, 1).clamp(0.0, 1.0)
