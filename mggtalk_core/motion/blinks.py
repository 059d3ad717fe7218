"""Blinks that look alive: irregular, quick, and rather in pauses."""

from __future__ import annotations

import numpy as np

RATE = 20.0
"""Blinks a minute of a person who talks."""
CLOSING, OPENING = 0.08, 0.12
"""Seconds: lids fall faster than they rise; 200 ms in all."""
SHORTEST_GAP = 1.0
"""Seconds between the drawn moments of one blink and the next, at least."""
PATIENCE = 0.8
"""Seconds for which a blink that is due in speech waits for the speaker to pause."""
_LEAST_GAP = 0.5  # seconds between two blinks, however long the first one had to wait
_SHAPE = 4.0  # of the gamma law of the gaps: neither clockwork nor bursts


class Blinker:
    """Decides frame by frame where blinks are: the same for a stream as for a whole recording."""

    def __init__(self, fps: float, rng: np.random.Generator, rate: float = RATE) -> None:
        """Start before frame 0. ``rate``: blinks a minute; 0 for none."""
        self._fps, self._rng, self._rate = fps, rng, rate
        self._shortest = min(SHORTEST_GAP, 30.0 / rate) if rate > 0.0 else 0.0
        self._due = rng.uniform(0.3, 60.0 / rate) if rate > 0.0 else np.inf
        self._drawn = self._due
        self._frame = 0
        self.ahead = round(CLOSING * fps)
        """Frames that a blink begins before its moment: as much must be known of the speech to come."""

    def step(self, speaking: bool) -> bool:
        """Return whether the lids are shut in the next frame, given whether somebody speaks in it."""
        moment, frame = self._frame / self._fps, self._frame
        self._frame += 1
        if frame + 0.5 < self._due * self._fps or (speaking and moment < self._due + PATIENCE):
            return False
        gap = self._shortest + self._rng.gamma(_SHAPE, (60.0 / self._rate - self._shortest) / _SHAPE)
        # Gaps are counted between drawn moments: waiting for a pause does not make blinks rarer.
        self._drawn += gap
        self._due = max(self._drawn, moment + min(_LEAST_GAP, self._shortest))
        return True


def blink_curve(
    frames: int, fps: float, rng: np.random.Generator, speech: np.ndarray, *, rate: float = RATE
) -> np.ndarray:
    """Return how far the lids are closed in every frame, 0..1; each blink closes fully in one frame.

    ``speech``: activity 0..1 at every frame. ``rate``: blinks a minute; 0 for none.
    """
    blinker = Blinker(fps, rng, rate)
    moments = [frame for frame in range(frames) if blinker.step(bool(speech[frame] > 0.5))]
    return lids(np.arange(frames), moments, fps)


def lids(frames: np.ndarray, moments: list[int], fps: float) -> np.ndarray:
    """Return how far the lids are closed in some frames, for blinks at the frames ``moments``."""
    curve = np.zeros(len(frames))
    for apex in moments:
        for place in np.flatnonzero(np.abs(frames - apex) <= fps * OPENING):
            curve[place] = max(curve[place], blink_shape((frames[place] - apex) / fps))
    return curve


def blink_shape(seconds: float) -> float:
    """Return how far a lid is closed ``seconds`` after (negative: before) the moment of a blink."""
    span = OPENING if seconds > 0.0 else CLOSING
    return 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, abs(seconds) / span))))


def pause_starts(speech: np.ndarray) -> np.ndarray:
    """Return the frames in which speech has just ended."""
    speaking = speech > 0.5
    return np.flatnonzero(speaking[:-1] & ~speaking[1:]) + 1
