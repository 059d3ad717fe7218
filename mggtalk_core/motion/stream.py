"""Speech that is still being spoken: samples go in, frames of motion come out."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import torch
from jaxtyping import Float

from ..errors import InputError
from .audio_net import NET_RATE
from .audio_net_file import load_mouth_net
from .blinks import RATE
from .headmotion import LOOK_AHEAD, Life, Liveliness, joined
from .motion import Motion
from .mouth import LIP_LEAD, Heard, at_frames, mouth
from .speaking import speaking_motion
from .speech_features import FEATURE_RATE
from .stream_ears import Ears, RunningEars
from .stream_input import Pieces
from .timing import check_fps, frame_count

_PAST, _FUTURE = 0.2, 0.28
"""Seconds before and after a frame that its mouth looks at: lips part before a voice, and stay parted after it."""
_STEP = FEATURE_RATE // NET_RATE


class SpeechStream:
    """The motion of a voice while it speaks.

    However the samples are cut, the same frames come out, and memory stays flat. They differ from those of
    `motion_from_audio` in three ways: loudness is measured against the last seconds instead of the whole recording,
    there are no phonemes, which need seconds of look-ahead, and the net listens to a second at a time, not to ten.
    Head, eyes and lids follow the very same rules.
    """

    def __init__(
        self,
        rate: int,
        fps: float = 25.0,
        seed: int = 0,
        *,
        learned: bool = True,
        blink_rate: float = RATE,
        head_motion: float = 1.0,
        look: float = 0.0,
        anticipation: float = LOOK_AHEAD,
        ears: Ears | None = None,
    ) -> None:
        """Start a stream.

        Args:
            rate: samples per second of what will be pushed.
            fps: frames per second of what comes out.
            seed: of blinks, glances and the sway of the head.
            learned: use the mouth net where its licence is accepted; otherwise the loudness opens the mouth.
            blink_rate: blinks a minute.
            head_motion: strength of the movement of head, eyes, brows and smile, 0 for none.
            look: how much the eyes are locked on the camera, 0..1.
            anticipation: seconds, at most `LOOK_AHEAD`, for which frames wait so that nods and blinks come on time;
                with 0 they come `LOOK_AHEAD` late and the mouth is out as soon as it can be.
            ears: another way to hear.

        Raises:
            InputError: a setting that cannot be used.
        """
        if not 0.0 <= anticipation <= LOOK_AHEAD:
            raise InputError(f"anticipation is {anticipation}; give seconds from 0 to {LOOK_AHEAD:g}.")
        if not 0.0 <= look <= 1.0 or not all(math.isfinite(x) and x >= 0.0 for x in (blink_rate, head_motion)):
            raise InputError("look goes from 0 to 1, blink_rate and head_motion from 0; give such numbers.")
        self._fps, self._look = check_fps(fps), look
        self._pieces = Pieces(rate)
        self._ears = ears or RunningEars(load_mouth_net() if learned else None)
        self._life = Life(self._fps, seed, strength=head_motion, blink_rate=blink_rate, look=look)
        self._heard = _Curves()
        self._late = round((1.0 - anticipation / LOOK_AHEAD) * self._life.look_ahead)
        self._alive = [_still(self._late)]
        self._mouths = np.zeros((0, 52))
        self._drawn = 0

    @property
    def latency(self) -> float:
        """Seconds, at most, from the moment of a frame in the sound to the sample that lets it out."""
        wait = (self._life.look_ahead - self._late) / self._fps
        seen = self._ears.reach / FEATURE_RATE + _FUTURE + LIP_LEAD + 1.5 / FEATURE_RATE + 0.5 / self._fps
        return self._pieces.latency + seen + wait

    def push(self, samples: Float[torch.Tensor | np.ndarray, "*channels n"]) -> Motion | None:
        """Take more sound, mono [n] or [channels, n] in -1..1, and return the frames that are ready, if any are."""
        for piece in self._pieces.push(torch.as_tensor(samples)):
            self._heard.add(self._ears.push(piece))
        ahead = _FUTURE + LIP_LEAD + 1.5 / FEATURE_RATE + math.ceil(0.5 * FEATURE_RATE / self._fps) / FEATURE_RATE
        ready = math.floor((self._heard.end / FEATURE_RATE - ahead - 1.0 / NET_RATE) * self._fps) + 1
        self._draw(max(self._drawn, ready))
        return self._out()

    def finish(self) -> Motion | None:
        """Return the last frames: ``max(1, floor(seconds x fps + 0.5))`` in all."""
        for piece in self._pieces.finish():
            self._heard.add(self._ears.push(piece))
        self._heard.add(self._ears.finish())
        total = frame_count(self._pieces.seconds, self._fps)
        self._draw(max(total, self._drawn))
        self._alive.append(self._life.finish())
        return self._out()

    def _draw(self, until: int) -> None:
        """Draw the mouth up to a frame, and let head and eyes know what they follow."""
        if until <= self._drawn:
            return
        first = max(0, self._drawn - math.ceil(_PAST * self._fps))
        heard = self._heard.since(first / self._fps)
        count, skip = until - first, self._drawn - first
        curves = (at_frames(curve, count, self._fps)[skip:] for curve in (heard.opening, heard.activity))
        self._alive.append(self._life.push(*curves))
        self._mouths = np.concatenate((self._mouths, mouth(heard, count, self._fps)[skip:]))
        self._drawn = until

    def _out(self) -> Motion | None:
        alive = joined(self._alive)
        count = min(len(alive), len(self._mouths))
        self._alive = [_part(alive, count, len(alive))]
        if count == 0:
            return None
        now, self._mouths = self._mouths[:count], self._mouths[count:]
        return speaking_motion(now, _part(alive, 0, count), self._fps, look=self._look)


class _Curves:
    """What was heard of late."""

    def __init__(self) -> None:
        self._opening, self._activity = np.zeros(0), np.zeros(0)
        self._learned: np.ndarray | None = None
        self._begin = 0  # feature frame, even

    @property
    def end(self) -> int:
        """Feature frames heard so far."""
        return self._begin + len(self._opening)

    def add(self, heard: Heard) -> None:
        self._opening = np.concatenate((self._opening, heard.opening))
        self._activity = np.concatenate((self._activity, heard.activity))
        if heard.learned is not None:
            known = heard.learned[:0] if self._learned is None else self._learned
            self._learned = np.concatenate((known, heard.learned))

    def since(self, seconds: float) -> Heard:
        """Return what was heard from a moment on, as if the sound began there, and forget what was before."""
        start = seconds * FEATURE_RATE
        place = _STEP * int(start / _STEP + 1e-9)
        cut = place - self._begin
        self._opening, self._activity, self._begin = self._opening[cut:], self._activity[cut:], place
        if self._learned is not None:
            self._learned = self._learned[cut // _STEP :]
        shift = max(0.0, start - place)
        return Heard(
            _shifted(self._opening, shift),
            _shifted(self._activity, shift),
            None,
            None if self._learned is None else _shifted(self._learned, shift / _STEP),
        )


def _shifted(curve: np.ndarray, places: float) -> np.ndarray:
    """Return a curve that begins some places later, a fraction of one too."""
    if places < 1e-6:
        return curve
    whole = int(places)
    padded = np.concatenate((curve[whole:], curve[-1:]))
    return padded[:-1] + (places - whole) * (padded[1:] - padded[:-1])


def _still(frames: int) -> Liveliness:
    return Liveliness(np.zeros((frames, 3)), np.zeros((frames, 2)), *np.zeros((3, frames)))


def _part(life: Liveliness, start: int, end: int) -> Liveliness:
    return Liveliness(**{field.name: getattr(life, field.name)[start:end] for field in fields(Liveliness)})
