"""By how much the sound of a clip comes late: many files that go round are not in step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ..motion.audio_net import NET_RATE
from .audio_data import Speech

LARGEST = 0.5
"""Seconds within which a lag is looked for."""
CLEAR_PEAK = 0.4
"""Least correlation at the best lag for it to mean anything."""
CLEAR_LEAD = 0.08
"""How much better the best lag must be than any more than `APART` away."""
APART = 0.16
"""Seconds: two peaks that are nearer than this are one."""
BIAS = 0.15
"""Correlation that a lag must gain for each second of it: most clips are in step."""
IN_STEP = 0.04
"""Seconds, a frame of most clips: lags up to this are taken to be none, in the mean."""
UNPROVEN_TRUST = 0.25
"""Weight in training of a clip whose lag is not clear."""


@dataclass(frozen=True)
class Lag:
    """An estimate."""

    seconds: float
    """Positive: the sound comes later than the lips."""
    correlation: float
    proven: bool


def estimate_lag(predicted: Float[np.ndarray, "frames"], speech: Speech) -> Lag:
    """Compare the opening that the sound asks for, at `NET_RATE`, with what the mouth did, over all lags.

    The prediction must not come from a net that has learned from this very clip and its lag.
    """
    lags = np.arange(-round(LARGEST * NET_RATE), round(LARGEST * NET_RATE) + 1) / NET_RATE
    times = np.arange(len(speech.opening)) / speech.fps
    grid = (np.arange(len(predicted)) + 0.5) / NET_RATE
    values = np.array([_correlation(times + lag, speech.opening, grid, predicted) for lag in lags])
    judged = values - BIAS * np.abs(lags)
    best = int(np.argmax(judged))
    others = judged[np.abs(lags - lags[best]) > APART]
    proven = values[best] >= CLEAR_PEAK and judged[best] - others.max() >= CLEAR_LEAD
    return Lag(float(lags[best]), float(values[best]), bool(proven))


def anchored(lags: Mapping[str, Lag]) -> dict[str, Lag]:
    """Return lags less the mean of those that are proven and small: nets tell lags from each other's clips alone.

    A net that has learned from clips whose sound comes late on the whole speaks late itself, and every lag that it
    tells is short by as much.
    """
    near = [lag.seconds for lag in lags.values() if lag.proven and abs(lag.seconds) < IN_STEP + 0.5 / NET_RATE]
    clock = float(np.mean(near)) if near else 0.0
    return {name: replace(lag, seconds=lag.seconds - clock) for name, lag in lags.items()}


def _correlation(
    times: Float[np.ndarray, "T"], opening: Float[np.ndarray, "T"], grid: np.ndarray, predicted: np.ndarray
) -> float:
    """Return Pearson's correlation over the frames whose sound there is; 0 for less than two thirds of them."""
    inside = (times >= 0.0) & (times <= grid[-1])
    if inside.sum() < max(10, 2 * len(times) // 3):
        return 0.0
    x, y = np.interp(times[inside], grid, predicted), opening[inside]
    x, y = x - x.mean(), y - y.mean()
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / size if size > 1e-9 else 0.0
