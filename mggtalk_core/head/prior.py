"""What is known of expressions and identities before a landmark is seen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ..portrait.blendshapes import BLENDSHAPES

_SPREAD = (
    ("eyeBlink", 0.5), ("eyeLook", 0.15), ("eyeSquint", 0.2), ("eyeWide", 0.25), ("jawOpen", 0.5), ("jaw", 0.12),
    ("mouthClose", 0.12), ("mouthFunnel", 0.2), ("mouthPucker", 0.2), ("mouthSmile", 0.2), ("mouthRoll", 0.15),
    ("mouthShrug", 0.12), ("mouth", 0.15), ("brow", 0.2), ("cheek", 0.08), ("nose", 0.1), ("tongue", 1e-3),
)  # fmt: skip
"""How far the fitted coefficient may lie from the blendshape network's (standard deviation), by name."""
BLINK_GAIN = 1.4
"""The network says 0.7 of eyes that are shut."""
IDENTITY_SPREAD = 1.0
GAZE_SPREAD = 0.35
VERGENCE_SPREAD = 0.05
"""Radians: gaze from straight ahead, and the difference between both eyes."""


@dataclass(frozen=True)
class ExpressionPrior:
    """A normal distribution of the 52 coefficients around the blendshape network's answer."""

    mean: np.ndarray  # [52]
    precision: np.ndarray  # [52]

    @classmethod
    def around(cls, blendshapes: np.ndarray) -> ExpressionPrior:
        """Trust the network's coefficients [52], each by its own measure."""
        gain = np.where([name.startswith("eyeBlink") for name in BLENDSHAPES], BLINK_GAIN, 1.0)
        return cls(np.clip(blendshapes * gain, 0.0, 1.0), 1.0 / expression_spread() ** 2)


@cache
def expression_spread() -> np.ndarray:
    """Return the standard deviation [52] of the coefficients around the network's."""
    return np.array([next(spread for start, spread in _SPREAD if name.startswith(start)) for name in BLENDSHAPES])


@cache
def gaze_hessian() -> np.ndarray:
    """Return the precision [4, 4] of the gaze: near straight ahead, both eyes alike."""
    difference = np.array([[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, -1.0]])
    return np.eye(4) / GAZE_SPREAD**2 + difference.T @ difference / VERGENCE_SPREAD**2


_FRAME_SPREAD = (("eyeBlink", 0.6), ("eye", 0.2), ("jawOpen", 0.3), ("mouth", 0.12), ("jaw", 0.08))
_OTHER_FRAME_SPREAD = 0.06


@cache
def frame_spread(fps: float) -> np.ndarray:
    """Return how far [52] coefficients move in a frame (standard deviation): blinks fly, cheeks do not."""
    spread = [
        next((value for start, value in _FRAME_SPREAD if name.startswith(start)), _OTHER_FRAME_SPREAD)
        for name in BLENDSHAPES
    ]
    return np.array(spread) * np.sqrt(25.0 / max(fps, 1.0))
