"""What a fit is measured against: landmark weights, the pairs that open and close, and how far eyes are open."""

from __future__ import annotations

import numpy as np

from ..portrait.face_mesh import FACE_OVAL
from .landmark_model import IRISES

EYE_CORNERS = (33, 263)
"""Outer corners of the subject's right and left eye: their distance is the unit of landmark errors."""
LIDS_LEFT = ((388, 390), (387, 373), (386, 374), (385, 380), (384, 381))
LIDS_RIGHT = ((161, 163), (160, 144), (159, 145), (158, 153), (157, 154))
LIPS = ((80, 88), (81, 178), (82, 87), (13, 14), (312, 317), (311, 402), (310, 318))
"""Upper and lower landmarks that face each other across an opening."""
OPENINGS = np.array((*LIDS_LEFT, *LIDS_RIGHT, *LIPS))
SHUT, NARROW = 0.045, 0.11
"""Openness (see `eye_openness`) that the landmark network reports for shut eyes, and above which it is trusted."""
UPPER_LIDS = ((466, 388, 387, 386, 385, 384, 398), (246, 161, 160, 159, 158, 157, 173))
LOWER_LIDS = ((249, 390, 373, 374, 380, 381, 382), (7, 163, 144, 145, 153, 154, 155))
"""Left, then right eye; the landmarks of both rows face each other."""
_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409, 78, 95, 88, 178, 87,
    14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
)  # fmt: skip
_LIDS = (
    33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7, 362, 398, 384, 385, 386, 387, 388,
    466, 263, 249, 390, 373, 374, 380, 381, 382,
)  # fmt: skip


def landmark_weights() -> np.ndarray:
    """Return the weight [478] of every landmark: the outline slides over the cheeks, lips and lids matter most."""
    weights = np.ones(478)
    weights[list(FACE_OVAL)] = 0.35
    weights[list(_LIPS + _LIDS)] = 1.6
    weights[468:] = 1.2
    return weights


def eye_distance(landmarks: np.ndarray) -> float:
    """Return the distance of the outer eye corners in space, so that it does not shrink when the head turns."""
    right, left = landmarks[EYE_CORNERS[0]], landmarks[EYE_CORNERS[1]]
    return max(float(np.linalg.norm(right - left)), 1e-3)


def eye_openness(landmarks: np.ndarray) -> np.ndarray:
    """Return the opening of the left and the right eye over its width, [..., 2]; about 0.3 when open."""
    values = []
    for pairs, corners in ((LIDS_LEFT, (362, 263)), (LIDS_RIGHT, (133, 33))):
        upper, lower = (landmarks[..., [pair[side] for pair in pairs[1:4]], :2] for side in (0, 1))
        width = np.linalg.norm(landmarks[..., corners[0], :2] - landmarks[..., corners[1], :2], axis=-1)
        values.append(np.linalg.norm(upper - lower, axis=-1).mean(axis=-1) / np.maximum(width, 1e-3))
    return np.stack(values, axis=-1)


def with_closed_lids(landmarks: np.ndarray) -> np.ndarray:
    """Return landmarks [478, 3] with the lids of nearly closed eyes brought together.

    The landmark network keeps a slit of about `SHUT` of the eye's width between closed lids; without this, eyes that
    are shut would be fitted, and later shown, half open.
    """
    closed = landmarks.copy()
    for openness, upper, lower in zip(eye_openness(landmarks), UPPER_LIDS, LOWER_LIDS, strict=True):
        if openness < NARROW:
            target = NARROW * np.clip((openness - SHUT) / (NARROW - SHUT), 0.0, 1.0)
            middle = (landmarks[list(upper)] + landmarks[list(lower)]) / 2
            for lid in (list(upper), list(lower)):
                closed[lid] = middle + (landmarks[lid] - middle) * (target / max(openness, 1e-6))
    return closed


def visible_weights(landmarks: np.ndarray) -> np.ndarray:
    """Return `landmark_weights` with the irises faded out where the lids hide them."""
    weights = landmark_weights()
    for eye, openness in zip(IRISES, eye_openness(landmarks), strict=True):
        weights[eye] *= np.clip((openness - 0.06) / 0.12, 0.02, 1.0)
    return weights
