"""Blinks that look alive: irregular, quick, and rather in pauses."""

from __future__ import annotations

import numpy as np

RATE = 20.0
"""Blinks a minute of a person who talks."""
CLOSING, OPENING = 0.08, 0.12
"""Seconds: lids fall faster than they rise; 200 ms in all."""
SHORTEST_GAP = 1.0
"""Seconds between one blink and the next, at least."""
PAUSE_PULL = 0.6
"""Seconds by which a blink moves to meet the beginning of a pause."""
_SHAPE = 4.0  # of the gamma law of the gaps: neither clockwork nor bursts


def blink_curve(
    frames: int, fps: float, rng: np.random.Generator, speech: np.ndarray, *, rate: float = RATE
) -> np.ndarray:
    """Return how far the lids are closed in every frame, 0..1; each blink closes fully in one frame.

    ``speech``: activity 0..1 at every frame. ``rate``: blinks a minute; 0 for none.
    """
    curve = np.zeros(frames)
    for moment in _moments(frames / fps, rng, pause_starts(speech) / fps, rate):
        apex = round(moment * fps)
        first = max(0, apex - round(CLOSING * fps))
        last = min(frames - 1, apex + round(OPENING * fps))
        for frame in range(first, last + 1):
            curve[frame] = max(curve[frame], blink_shape((frame - apex) / fps))
    return curve


def blink_shape(seconds: float) -> float:
    """Return how far a lid is closed ``seconds`` after (negative: before) the moment of a blink."""
    span = OPENING if seconds > 0.0 else CLOSING
    return 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, abs(seconds) / span))))


def pause_starts(speech: np.ndarray) -> np.ndarray:
    """Return the frames in which speech has just ended."""
    speaking = speech > 0.5
    return np.flatnonzero(speaking[:-1] & ~speaking[1:]) + 1


def _moments(seconds: float, rng: np.random.Generator, pauses: np.ndarray, rate: float) -> list[float]:
    """Return the moments of the blinks in seconds; pauses attract those nearby, without changing how many there are."""
    if rate <= 0.0:
        return []
    shortest = min(SHORTEST_GAP, 30.0 / rate)
    mean = 60.0 / rate - shortest
    moments: list[float] = []
    moment = rng.uniform(0.3, 60.0 / rate)
    while moment < seconds:
        near = pauses[np.abs(pauses - moment) < PAUSE_PULL]
        place = float(near[np.argmin(np.abs(near - moment))]) if len(near) else moment
        if not moments or place - moments[-1] >= min(shortest, 0.5):
            moments.append(place)
        moment += shortest + rng.gamma(_SHAPE, mean / _SHAPE)
    return moments
