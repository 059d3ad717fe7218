"""How far speech opens the mouth, from its loudness alone."""

from __future__ import annotations

import numpy as np

from .speech_features import FEATURE_RATE
from .vad import same_convolution

RANGE = 40.0
"""dB between a closed mouth and the loudest vowels."""
SMOOTHING = 0.035
"""Seconds (standard deviation): the jaw is slower than the voice."""


def opening_curve(levels: np.ndarray, activity: np.ndarray) -> np.ndarray:
    """Return the opening of the mouth in 0..1 for each feature frame.

    ``levels``: dB of the band of open vowels; ``activity``: 0..1 of `voice_activity`. The scale runs between the
    recording's own quiet and loud parts; squared, because a mouth opens late and quickly.
    """
    loud = np.percentile(levels, 95)
    quiet = np.clip(np.percentile(levels, 10), loud - RANGE, loud - 0.5 * RANGE)
    scaled = np.clip((levels - quiet) / (loud - quiet), 0.0, 1.2)
    reach = int(3.0 * SMOOTHING * FEATURE_RATE)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (SMOOTHING * FEATURE_RATE)) ** 2)
    return same_convolution(scaled**2, kernel / kernel.sum()) * activity
