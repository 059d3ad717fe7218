"""Eyes that live, and the smile that lies over what is said: drawn anew with every glance and every phrase."""

from __future__ import annotations

import numpy as np

SACCADE_DEGREES = (2.5, 1.2)
"""Standard deviation of glances aside: yaw, pitch."""
SACCADE_SECONDS = 1.4
"""Mean time for which the eyes stay on one place."""
TREMOR_DEGREES = 0.25
"""Standard deviation of the small jumps within a fixation."""
TREMOR_SECONDS = 0.6
"""Mean time between them."""
_AT_PAUSE = 0.3  # seconds by which a glance comes early to meet the end of a phrase
SMILE_SECONDS = 0.6
"""Time in which a smile comes and goes."""
_IN_SPEECH = 0.4  # part of a smile that is left while its phrase is spoken


class Glances:
    """Where the eyes look, frame by frame: steps that last a frame or two; every other look goes back to the viewer."""

    def __init__(self, fps: float, rng: np.random.Generator, tremor: np.random.Generator) -> None:
        """Start with the eyes on the viewer."""
        self._fps, self._rng, self._tremor_rng = fps, rng, tremor
        self._frame, self._away, self._spoke = 0, False, False
        self._target = self._last = np.zeros(2)
        self._next = self._pause()
        self._tremor, self._next_tremor = np.zeros(2), 0.0

    def step(self, speaking: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return glance and tremor [n,2] (yaw, pitch in degrees) in the next frames, given where somebody speaks."""
        pairs = [self._one(bool(now)) for now in speaking]
        glance, tremor = zip(*pairs, strict=True) if pairs else ((), ())
        return np.reshape(glance, (-1, 2)), np.reshape(tremor, (-1, 2))

    def _one(self, speaking: bool) -> tuple[np.ndarray, np.ndarray]:
        time = self._frame / self._fps
        ended = self._spoke and not speaking
        if time >= self._next or (ended and time >= self._next - _AT_PAUSE):
            self._away = not self._away
            self._target = self._rng.normal(0.0, SACCADE_DEGREES) if self._away else self._rng.normal(0.0, 0.2, 2)
            self._next = time + self._pause()
        if time >= self._next_tremor:
            self._tremor = self._tremor_rng.normal(0.0, TREMOR_DEGREES, 2)
            self._next_tremor = time + self._tremor_rng.gamma(2.0, TREMOR_SECONDS / 2.0)
        glance = 0.7 * self._target + 0.3 * self._last
        self._frame, self._last, self._spoke = self._frame + 1, self._target, speaking
        return glance, self._tremor

    def _pause(self) -> float:
        return 0.3 + self._rng.gamma(2.0, (SACCADE_SECONDS - 0.3) / 2.0)


class Smiles:
    """A smile of a strength that is drawn for each phrase: faint while it is spoken, clearer in the pause behind it."""

    def __init__(self, fps: float, rng: np.random.Generator) -> None:
        """Start without a smile; nobody smiles before the first word."""
        self._rng, self._rise = rng, 1.0 - float(np.exp(-1.0 / (SMILE_SECONDS * fps)))
        self._spoke, self._size = False, 0.0
        self._level = [0.0, 0.0]  # two in a row: it neither starts nor stops with a jerk

    def step(self, speaking: np.ndarray) -> np.ndarray:
        """Return the smile 0..1 [n] in the next frames."""
        return np.array([self._one(bool(now)) for now in speaking])

    def _one(self, speaking: bool) -> float:
        if speaking and not self._spoke:
            self._size = self._rng.uniform(0.0, 1.0)
        self._spoke = speaking
        wanted = self._size * (_IN_SPEECH if speaking else 1.0)
        self._level[0] += self._rise * (wanted - self._level[0])
        self._level[1] += self._rise * (self._level[0] - self._level[1])
        return self._level[1]
