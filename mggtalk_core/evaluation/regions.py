"""Parts of the picture that are scored apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..portrait.portrait import CROP_SIZE
from .landmarks import eye_distance

EYES = (33, 133, 159, 145, 263, 362, 386, 374, 70, 300)
"""Corners, lids and outer brows: what a close-up of the eyes must hold."""
MOUTH = (61, 291, 0, 17, 13, 14)
"""Corners and the outer and inner middle of the lips."""


EYE_PARTS = ((33, 133, 159, 145, 70, 105), (263, 362, 386, 374, 300, 334))
"""Corners, lids and brow of the right and of the left eye: the boxes in which eyes are scored."""
MOUTH_PARTS = ((61, 291, 0, 17, 13, 14),)
"""Corners and middles of the lips: the box in which the mouth is scored."""
PART_MARGIN = 0.08
"""Width around those boxes, in eye distances."""
LEAST_FACE = 64
"""Pixels that the box of a face is wide and high at least."""


def box(landmarks: Float[Tensor, "478 d"], points: Sequence[int], margin: float) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of the pixels of a crop around some landmarks; ``margin`` in eye distances."""
    chosen = landmarks[list(points), :2]
    more = margin * eye_distance(landmarks)
    x0, y0 = (chosen.amin(dim=0) - more).floor().clamp(0, CROP_SIZE).int().tolist()
    x1, y1 = (chosen.amax(dim=0) + more).ceil().clamp(0, CROP_SIZE).int().tolist()
    return x0, y0, x1, y1


def face_box(landmarks: Float[Tensor, "478 d"]) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of the face in a crop, at least `LEAST_FACE` pixels wide and high."""
    x0, y0, x1, y1 = box(landmarks, range(468), 0.0)
    x0, y0 = min(x0, CROP_SIZE - LEAST_FACE), min(y0, CROP_SIZE - LEAST_FACE)
    return x0, y0, max(x1, x0 + LEAST_FACE), max(y1, y0 + LEAST_FACE)


def part_masks(landmarks: Float[Tensor, "478 d"]) -> dict[str, Float[Tensor, "1 512 512"]]:
    """Return 1 in the boxes around the eyes and around the mouth of a crop, 0 elsewhere."""
    masks = {}
    for name, parts in (("eyes", EYE_PARTS), ("mouth", MOUTH_PARTS)):
        masks[name] = torch.zeros(1, CROP_SIZE, CROP_SIZE)
        for points in parts:
            x0, y0, x1, y1 = box(landmarks, points, PART_MARGIN)
            masks[name][:, y0:y1, x0:x1] = 1.0
    return masks


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
