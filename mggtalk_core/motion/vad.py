"""Voice activity: where somebody speaks."""

from __future__ import annotations

import numpy as np

from .speech_features import FEATURE_RATE

FLOOR_BELOW_PEAK = 35.0
"""dB below the loud parts at which the background is taken to begin, however loud the quietest part is."""
ABOVE_FLOOR = 10.0
"""dB above the background that count as speech."""
SILENCE = -60.0
"""dB of full scale: sound whose loud parts stay below is silence."""
STEADY, LIVELY = 3.5, 6.0
"""dB between the quiet and the loud parts of a recording: up to the first it is noise or a hum, from the second on it
may be speech. White noise has 1, pink noise 3, speech in loud noise or music 8 and clean speech 20 to 50."""
HANG_SECONDS = 0.08
"""Pauses up to twice this are bridged, speech shorter than this is dropped."""
FADE_SECONDS = 0.08
"""Time in which the mouth opens and closes at the edges of speech."""


def voice_activity(levels: np.ndarray) -> np.ndarray:
    """Return 0..1 for each feature frame: 1 in speech, 0 in silence, with soft edges.

    ``levels``: dB of the whole band (`band_levels`). The background is read off the whole recording, so a steady hum
    under the speech does not count as speech, and a recording of nothing but quiet, noise or hum is silent throughout.
    """
    quiet, loud = np.percentile(levels, (10, 95))
    if loud < SILENCE:
        return np.zeros(len(levels))
    lively = min(max((loud - quiet - STEADY) / (LIVELY - STEADY), 0.0), 1.0)
    floor = min(quiet, loud - FLOOR_BELOW_PEAK * 0.7)
    floor = max(floor, loud - FLOOR_BELOW_PEAK)
    speaking = levels > floor + ABOVE_FLOOR
    reach = int(HANG_SECONDS * FEATURE_RATE)
    speaking = _eroded(_dilated(speaking, reach), reach)
    speaking = _dilated(_eroded(speaking, reach // 2), reach // 2)
    fade = np.hanning(2 * int(FADE_SECONDS * FEATURE_RATE) + 1)
    # Speech keeps its full strength and fades outside of it: the lips part a little before the voice sets in.
    grown = _dilated(speaking, len(fade) // 2).astype(np.float64)
    return lively * same_convolution(grown, fade / fade.sum()).clip(0.0, 1.0)


def same_convolution(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve a curve with an odd kernel; its ends are held, and the length stays."""
    return np.convolve(np.pad(values, len(kernel) // 2, mode="edge"), kernel, mode="valid")


def _dilated(mask: np.ndarray, reach: int) -> np.ndarray:
    window = np.ones(2 * reach + 1)
    return np.convolve(np.pad(mask.astype(np.float64), reach), window, mode="valid") > 0.5


def _eroded(mask: np.ndarray, reach: int) -> np.ndarray:
    window = np.ones(2 * reach + 1)
    return np.convolve(np.pad(mask.astype(np.float64), reach, mode="edge"), window, mode="valid") > 2 * reach + 0.5
