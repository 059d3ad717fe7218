"""Small movements of head, eyes, brows and lids that go with speech.

All of them follow rules that look at most `LOOK_AHEAD` seconds into what is to come, so that a stream of speech gives
the very movements that the whole recording gives.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ..portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES
from .blinks import OPENING, RATE, Blinker, lids
from .glances import Glances, Smiles

SWAY_DEGREES = (2.0, 2.0, 1.3)
"""Standard deviation of yaw, pitch and roll of a talking head; a silent one sways half as much."""
SWAY_HERTZ = (0.08, 0.65)
"""Frequencies of the sway: below 1 Hz, where a head's own movement lies."""
NOD_DEGREES = 1.0
"""Depth of a nod on a loud syllable."""
NOD_SECONDS = 0.32
"""Half length of a nod."""
NOD_GAP = 0.9
"""Seconds between nods, at least."""
STRESS_SECONDS = 0.18
"""A stressed syllable is louder than all within this time before and after it."""
STRESS = 0.6
"""Opening of the mouth from which on a syllable counts as stressed."""
SPEAKING = 0.51
"""Voice activity from which on somebody speaks; not a half, which fades pass exactly, give or take a rounding."""
LOOK_AHEAD = NOD_SECONDS + STRESS_SECONDS
"""Seconds of speech to come that movements depend on."""
FADE_IN = 0.8
"""Seconds in which the movement sets in, so that the first frame is the portrait's own pose."""
STEADY_EYES = 0.7
"""Part of the head's turn that the eyes take back to stay on the viewer."""
EXPRESSION: dict[str, dict[str, float]] = {
    "emphasis": {"browInnerUp": 0.12, "browOuterUpLeft": 0.06, "browOuterUpRight": 0.06},
    "smile": {"mouthSmileLeft": 0.12, "mouthSmileRight": 0.12, "cheekSquintLeft": 0.05, "cheekSquintRight": 0.05},
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
}
"""What the curves do to the face at 1: brows rise on stress, a small smile lies over what is said."""
_WAVES = 6


@dataclass(frozen=True)
class Liveliness:
    """Curves of ``T`` frames; angles in degrees, + to the subject's left and up; roll leans the crown to the left."""

    head: np.ndarray
    """Yaw, pitch, roll [T,3]."""
    gaze: np.ndarray
    """Yaw, pitch of both eyeballs relative to the head [T,2]."""
    emphasis: np.ndarray
    """0..1 [T]: stressed syllables, where a head nods and brows rise."""
    smile: np.ndarray
    """0..1 [T]."""
    blink: np.ndarray
    """0..1 [T]: how far the lids are closed."""

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.emphasis)

    def expression(self) -> np.ndarray:
        """Return what brows, cheeks, the smile and the lids add to the 52 blendshapes [T,52]."""
        beta = np.zeros((len(self), len(BLENDSHAPES)))
        for curve, shapes in EXPRESSION.items():
            for name, value in shapes.items():
                beta[:, BLENDSHAPE_INDEX[name]] += value * getattr(self, curve)
        return beta


class Life:
    """Makes the movements of a stream of speech; every frame comes out `LOOK_AHEAD` seconds after it went in."""

    def __init__(
        self, fps: float, seed: int, *, strength: float = 1.0, blink_rate: float = RATE, look: float = 0.0
    ) -> None:
        """Start before frame 0; see `liveliness`."""
        self._fps, self._strength, self._look = fps, strength, look
        self._sway = [_Waves(np.random.default_rng([seed, 10 + axis])) for axis in range(3)]
        self._glances = Glances(fps, np.random.default_rng([seed, 20]), np.random.default_rng([seed, 21]))
        self._smiles = Smiles(fps, np.random.default_rng([seed, 22]))
        self._blinker, self._blinks = Blinker(fps, np.random.default_rng([seed, 1]), blink_rate), []
        self._reach = int(LOOK_AHEAD * fps) + 1
        self._opening, self._speech = np.zeros(0), np.zeros(0)  # of the frames from _base on
        self._base = self._done = self._judged = self._blinked = 0
        self._nods: list[int] = []

    @property
    def look_ahead(self) -> int:
        """Frames that go in before the first comes out."""
        return self._reach

    def push(self, opening: np.ndarray, speech: np.ndarray) -> Liveliness:
        """Take the opening of the mouth and the voice activity (0..1) of the next frames; return what is decided."""
        if len(self._opening) == 0 and len(opening):  # before the beginning it was as at the beginning
            opening, speech = (np.concatenate((np.repeat(each[:1], self._reach), each)) for each in (opening, speech))
            self._base = -self._reach
        self._opening = np.concatenate((self._opening, opening))
        self._speech = np.concatenate((self._speech, speech))
        return self._emit(max(self._done, self._base + len(self._opening) - self._reach))

    def finish(self) -> Liveliness:
        """Return the last frames: after the end it stays as at the end."""
        if len(self._opening) == 0:
            return self._emit(0)
        last = np.repeat(self._opening[-1:], self._reach), np.repeat(self._speech[-1:], self._reach)
        return self.push(*last)

    def _emit(self, until: int) -> Liveliness:
        frames = np.arange(self._done, until)
        if not len(frames):
            return Liveliness(np.zeros((0, 3)), np.zeros((0, 2)), *np.zeros((3, 0)))
        time = frames / self._fps
        fade = np.clip(time / FADE_IN, 0.0, 1.0)
        fade = fade * fade * (3.0 - 2.0 * fade) * self._strength
        emphasis = self._stress(frames) * fade
        lively = 0.5 + 0.5 * self._slow_speech(frames)
        head = np.stack([waves(time) for waves in self._sway], axis=1) * np.asarray(SWAY_DEGREES)
        head *= (lively * fade)[:, None]
        head[:, 1] -= NOD_DEGREES * emphasis
        speaking = self._speech[frames - self._base] > SPEAKING
        glance, tremor = self._glances.step(speaking)
        gaze = (1.0 - self._look) * (glance * fade[:, None] - STEADY_EYES * head[:, :2]) + tremor * fade[:, None]
        result = Liveliness(head, gaze, emphasis, self._smiles.step(speaking) * fade, self._lids(frames))
        self._forget(until)
        return result

    def _stress(self, frames: np.ndarray) -> np.ndarray:
        """Return 0..1 bumps on stressed syllables, at least `NOD_GAP` apart."""
        wide, half = int(STRESS_SECONDS * self._fps), NOD_SECONDS * self._fps
        for frame in range(self._judged, int(frames[-1]) + int(half) + 1):
            place = frame - self._base
            near = self._opening[place - wide : place + wide + 1]
            free = not self._nods or frame - self._nods[-1] >= NOD_GAP * self._fps
            # A plateau has its stress at its first frame, and a level that never changes has none.
            if free and near[wide] > STRESS and near[wide] >= near.max() and near[wide] > near[: wide + 1].min():
                self._nods.append(frame)
            self._judged = frame + 1
        curve = np.zeros(len(frames))
        for nod in self._nods:
            phase = np.clip((frames - nod) / half, -1.0, 1.0)
            curve = np.maximum(curve, 0.5 + 0.5 * np.cos(np.pi * phase))
        return curve

    def _slow_speech(self, frames: np.ndarray) -> np.ndarray:
        """Return the voice activity averaged over about a second, both ways in time."""
        half = min(self._reach, round(0.5 * self._fps))
        kernel = np.hanning(2 * half + 3)[1:-1]
        first = frames[0] - self._base
        return np.convolve(self._speech[first - half : first + len(frames) + half], kernel / kernel.sum(), mode="valid")

    def _lids(self, frames: np.ndarray) -> np.ndarray:
        for frame in range(self._blinked, int(frames[-1]) + self._blinker.ahead + 1):
            if self._blinker.step(bool(self._speech[frame - self._base] > SPEAKING)):
                self._blinks.append(frame)
            self._blinked = frame + 1
        return lids(frames, self._blinks, self._fps)

    def _forget(self, until: int) -> None:
        """Drop what no later frame depends on, so that memory stays flat."""
        self._done = until
        cut = max(0, until - self._reach - self._base)
        self._opening, self._speech, self._base = self._opening[cut:], self._speech[cut:], self._base + cut
        self._nods = [nod for nod in self._nods if nod > until - (NOD_GAP + 1.0) * self._fps]
        self._blinks = [blink for blink in self._blinks if blink > until - (OPENING + 1.0) * self._fps]


def liveliness(
    fps: float,
    seed: int,
    opening: np.ndarray,
    speech: np.ndarray,
    *,
    strength: float = 1.0,
    blink_rate: float = RATE,
    look: float = 0.0,
) -> Liveliness:
    """Return the movements that go with speech; the same seed gives the same movements.

    Args:
        fps: frames per second.
        seed: of everything that is drawn.
        opening: of the mouth in every frame, 0..1 [T].
        speech: voice activity in every frame, 0..1 [T].
        strength: scales all but the blinks; 0 is still.
        blink_rate: blinks a minute.
        look: how much the eyes are locked on the camera, 0..1; at 1 nothing but their finest movement is left, and
            whoever draws the head turns them (`Motion.look`).
    """
    life = Life(fps, seed, strength=strength, blink_rate=blink_rate, look=look)
    return joined([life.push(np.asarray(opening, float), np.asarray(speech, float)), life.finish()])


def joined(parts: list[Liveliness]) -> Liveliness:
    """Return parts that follow each other as one."""
    names = [field.name for field in fields(Liveliness)]
    return Liveliness(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


class _Waves:
    """Smooth noise of standard deviation 1: a few sines, one in each part of the band, slower ones larger."""

    def __init__(self, rng: np.random.Generator) -> None:
        low, high = np.log(SWAY_HERTZ)
        edges = np.linspace(low, high, _WAVES + 1)
        self._frequency = np.exp(rng.uniform(edges[:-1], edges[1:]))
        self._phase = rng.uniform(0.0, 2.0 * np.pi, _WAVES)
        self._weight = self._frequency**-0.5
        self._weight *= np.sqrt(2.0 / np.square(self._weight).sum())

    def __call__(self, time: np.ndarray) -> np.ndarray:
        """Return the noise at some times in seconds."""
        return (self._weight * np.sin(2.0 * np.pi * self._frequency * time[:, None] + self._phase)).sum(axis=1)
