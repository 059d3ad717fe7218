"""Hearing a stream: what the ears make of each tenth of a second, with scales that run along.

A whole recording is measured against its own loud and quiet parts. A stream knows only what it has heard: it takes the
last `MEMORY` seconds, and in the first `PATIENCE` seconds an ordinary voice in their place.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float

from .audio_net import STRIDE, MouthNet
from .energy import opening_curve
from .mel import log_mel, normalised, silence_frame, voice_level
from .mouth import Heard
from .speech_features import FEATURE_RATE, Piece, band_levels
from .stream_input import HOP
from .vad import voice_activity

MEMORY = 10.0
"""Seconds of the past that loud and quiet are measured by."""
PATIENCE = 2.0
"""Seconds until only what was heard counts."""
REACH = 40
"""Feature frames to come that voice activity and opening depend on."""
ORDINARY = {"whole": (-24.0, -61.0), "vowels": (-30.0, -74.0), "mel": (-7.7, -17.0)}
"""Loud and quiet levels of an ordinary recording: dB above 60 Hz, dB in the band of open vowels, log-mel."""
_LOUD_SHARE = 0.4


class Ears(Protocol):
    """What a stream hears with; another model of the mouth brings other ears."""

    reach: int
    """Feature frames to come that what is heard depends on."""

    def push(self, piece: Piece) -> Heard:
        """Hear the next piece, and return what is settled by it: all curves go on where they ended before."""
        ...

    def finish(self) -> Heard:
        """Return the rest."""
        ...


class RunningEars:
    """Loudness, voice activity and, with a net, what it says; every tenth of a second anew."""

    def __init__(self, net: MouthNet | None = None) -> None:
        """Start without a past."""
        self._net = net
        past, ahead = (0, 0) if net is None else (STRIDE * net.config.past, STRIDE * net.config.ahead)
        self.reach = HOP * -(-max(REACH, ahead) // HOP)
        self._keep = past + self.reach + 2 * HOP
        self._levels = {name: np.zeros(0) for name in ORDINARY}
        self._mel = np.tile(silence_frame(), (0, 1))
        self._count = self._settled = 0

    def push(self, piece: Piece) -> Heard:
        """Hear a piece; see `Ears`."""
        whole, vowels = band_levels(piece)
        new = {"whole": whole, "vowels": vowels}
        if self._net is not None:
            mel = log_mel(piece)
            new["mel"] = mel.mean(axis=1)
            self._mel = np.concatenate((self._mel.reshape(-1, mel.shape[1]), mel))[-self._keep :]
        keep = int(MEMORY * FEATURE_RATE)
        for name, values in new.items():
            self._levels[name] = np.concatenate((self._levels[name], values))[-keep:]
        self._count += piece.frames
        return self._hear(max(self._settled, (self._count - self.reach) // HOP * HOP))

    def finish(self) -> Heard:
        """Hear the rest; see `Ears`."""
        return self._hear(self._count)

    def _hear(self, until: int) -> Heard:
        """Return what is heard from the last settled frame to ``until``."""
        first, self._settled = self._settled, until
        activity = voice_activity(self._remembered("whole"))
        opening = opening_curve(self._remembered("vowels"), activity)
        span = slice(len(activity) - self._count + first, len(activity) - self._count + until)
        learned = None if self._net is None else self._say(first, until)
        return Heard(opening[span], activity[span], None, learned)

    def _remembered(self, name: str) -> Float[np.ndarray, "F"]:
        """Return the levels of the last seconds, with an ordinary voice, and then silence, before the first."""
        heard = self._levels[name]
        lacking = max(0, int(PATIENCE * FEATURE_RATE) - self._count)
        loud, quiet = ORDINARY[name]
        before = np.full(lacking, quiet)
        before[: int(_LOUD_SHARE * lacking)] = loud
        return np.concatenate((before, heard))

    def _say(self, first: int, until: int) -> Float[np.ndarray, "N outputs"]:
        """Return what the net says from feature frame ``first`` to ``until``: whole steps of it, but for the end."""
        if first == until:
            return np.zeros((0, len(self._net.config.outputs)), np.float32)
        past, ahead = STRIDE * self._net.config.past, STRIDE * self._net.config.ahead
        until += -until % STRIDE
        begin = self._count - len(self._mel)
        level = voice_level(self._remembered("mel")[:, None])
        mel = normalised(self._mel, level)
        before = max(0, begin - (first - past))
        after = max(0, until + ahead - self._count)
        silence = silence_frame()[None]
        padded = np.concatenate((silence.repeat(before, 0), mel, silence.repeat(after, 0)))
        start = first - past - (begin - before)
        part = padded[start : start + until - first + past + ahead]
        with torch.inference_mode():
            return self._net(torch.from_numpy(part.T.copy())[None])[0].T.numpy()
