"""The one square that every later stage works on, chosen once and locked."""

from __future__ import annotations

import numpy as np

from .face_frame import FaceFrame
from .parsing import EDGE, Label
from .warp import Region, apply, invert

CROP_HEIGHTS = 2.15
"""Edge of the crop in face heights: the face fills 46 % of it."""
LARGEST_HEIGHTS = 2.8
"""The crop grows up to this for big hair and hats."""
FACE_ABOVE = 0.06
"""The crop's centre lies this many face heights above the middle of the face: hair takes more room than the neck."""


def quarter_turn(frame: FaceFrame) -> float:
    """Return the multiple of 90 degrees (in radians) nearest to the face's roll."""
    roll = np.arctan2(frame.axes[0, 1], frame.axes[0, 0])
    return float(np.round(roll / (np.pi / 2)) * (np.pi / 2))


def wide_region(frame: FaceFrame) -> Region:
    """Return the square in which the head's extent is measured."""
    return Region(_middle(frame), LARGEST_HEIGHTS * frame.height, quarter_turn(frame))


def choose_crop(frame: FaceFrame, wide: Region, probabilities: np.ndarray, width: int, height: int) -> Region:
    """Place the crop so that the whole head is in it, and as little as possible from outside the picture.

    ``probabilities`` [6,256,256] is the parsing of ``wide``; ``width`` and ``height`` are those of the picture.
    """
    low, high = _head_box(frame, wide, probabilities)
    margin = 0.06 * frame.height
    size = float(np.clip((high - low).max() + 2 * margin, CROP_HEIGHTS * frame.height, LARGEST_HEIGHTS * frame.height))
    turned = wide.to_crop(1)[:, :2] * wide.size
    middle = turned @ _middle(frame)
    # The head box may push the centre, not pull it: at rest the crop is centred on the face.
    center = np.clip(middle, high + margin - size / 2, np.maximum(low - margin + size / 2, high + margin - size / 2))
    return Region(_pulled_inside(turned.T @ center, size, width, height), size, wide.angle)


def _middle(frame: FaceFrame) -> np.ndarray:
    """Return the crop's centre for a head of usual shape, in picture pixels."""
    middle = (frame.landmarks.min(axis=0) + frame.landmarks.max(axis=0)) / 2
    return frame.to_pixels((middle - np.array([0.0, FACE_ABOVE]))[None])[0]


def _head_box(frame: FaceFrame, wide: Region, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the head above the chin, along the crop's axes, in picture pixels from the origin."""
    import cv2

    head = probabilities[[Label.HAIR, Label.FACE, Label.OTHER]].sum(axis=0) > 0.5
    to_crop = wide.to_crop(EDGE)
    pixels = np.stack(np.meshgrid(np.arange(EDGE) + 0.5, np.arange(EDGE) + 0.5), axis=-1).reshape(-1, 2)
    places = apply(invert(to_crop), pixels)
    below = ((places - frame.origin) @ frame.axes[1] / frame.height > frame.chin).reshape(EDGE, EDGE)
    _, parts = cv2.connectedComponents((head & ~below).astype(np.uint8))
    face = apply(to_crop, frame.to_pixels(frame.landmarks))
    seed = np.clip(np.floor(face.mean(axis=0)).astype(int), 0, EDGE - 1)
    chosen = (parts == parts[seed[1], seed[0]]) & (parts > 0)
    turned = wide.to_crop(1)[:, :2] * wide.size
    points = np.concatenate((places[chosen.reshape(-1)], frame.to_pixels(frame.landmarks))) @ turned.T
    return points.min(axis=0), points.max(axis=0)


def _pulled_inside(center: np.ndarray, size: float, width: int, height: int, reach: float = 0.08) -> np.ndarray:
    """Move the centre by up to ``reach`` of the edge so that less of the crop lies outside the picture."""
    limits = np.array([width, height], dtype=np.float64)
    low, high = np.full(2, size / 2), limits - size / 2
    wanted = np.where(low <= high, np.clip(center, low, np.maximum(low, high)), limits / 2)
    return center + np.clip(wanted - center, -reach * size, reach * size)
