"""Facts about the topology of MediaPipe's 478 face landmarks."""

from __future__ import annotations

import numpy as np

from .blendshapes import BLENDSHAPES

LANDMARKS = 478
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
"""Outer corners of the subject's right and left eye."""
CHIN, FOREHEAD = 152, 10

FACE_OVAL: tuple[int, ...] = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Outline of the face, from the top of the forehead by the subject's left cheek to the chin and back."""

BLENDSHAPE_POINTS: tuple[int, ...] = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
    154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249,
    251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314,
    317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382,
    384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473,
    474, 475, 476, 477,
)  # fmt: skip
"""The 146 landmarks that the blendshape network reads."""

MEDIAPIPE_BLENDSHAPES: tuple[str, ...] = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""Order of the blendshape network's output."""

_MIDLINE = (*range(0, 3), *range(4, 7), *range(8, 20), 94, 151, 152, 164, 168, 175, 195, 197, 199, 200)
_IRIS_MIRROR = (473, 476, 475, 474, 477, 468, 471, 470, 469, 472)


def mirror_indices() -> np.ndarray:
    """Return, for each of the 478 landmarks, the index of its mirror image.

    The canonical mesh numbers the subject's right half first and its left half, in the same order, from 248.
    """
    mirror = np.arange(LANDMARKS)
    right = np.setdiff1d(np.arange(248), _MIDLINE)
    mirror[right], mirror[248:468] = np.arange(248, 468), right
    mirror[468:] = _IRIS_MIRROR
    return mirror


def to_live_link(values: np.ndarray) -> np.ndarray:
    """Reorder the blendshape network's output [52] to `BLENDSHAPES`; tongueOut, which it does not know, is 0."""
    named = dict(zip(MEDIAPIPE_BLENDSHAPES, values, strict=True))
    return np.array([named.get(name, 0.0) for name in BLENDSHAPES], dtype=np.float32)
