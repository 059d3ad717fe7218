"""Sound that comes in bits and pieces, as pieces of 16 kHz that the ears can hear."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float

from ..errors import InputError
from ..media.audio import FILTER_PERIODS, RATES, resample
from ..media.sound import Sound
from .speech_features import FEATURE_RATE, SAMPLE_RATE, Piece

HOP = 8
"""Feature frames that are worked on at once, 80 ms: whole steps of the mouth net."""
_FRAME = SAMPLE_RATE // FEATURE_RATE
_AFTER = 120 + _FRAME  # samples behind the middle of a frame that its window reaches, rounded up to the next frame


class Resampler:
    """Brings a stream to 16 kHz in steps of whole periods of both rates, as the whole sound would be brought there."""

    def __init__(self, rate: int) -> None:
        """Start a stream of ``rate`` samples a second.

        Raises:
            InputError: not a rate that sound has.
        """
        if rate not in RATES:
            raise InputError(f"{rate} samples a second is no rate of sound; give the stream's own, such as 48000.")
        common = math.gcd(rate, SAMPLE_RATE)
        self._rate, self._up, self._down = rate, SAMPLE_RATE // common, rate // common
        periods = FILTER_PERIODS * max(self._up, self._down) / (self._up * self._down)
        self._margin = 0 if rate == SAMPLE_RATE else self._down * math.ceil(periods + 1)
        self._step = self._down * max(1, round(0.05 * rate / self._down))
        self._buffer, self._lead, self.count = torch.zeros(0), 0, 0

    @property
    def latency(self) -> float:
        """Seconds from a sample's coming to its going."""
        return (self._margin + self._step) / self._rate

    def push(self, samples: Float[torch.Tensor, "n"]) -> Float[np.ndarray, "m"]:
        """Take samples and return those of 16 kHz that nothing to come will change."""
        self.count += len(samples)
        self._buffer = torch.cat((self._buffer, samples))
        parts = []
        while len(self._buffer) >= self._lead + self._step + self._margin:
            parts.append(self._resampled(self._lead + self._step + self._margin)[: self._step // self._down * self._up])
            keep = max(0, self._lead + self._step - self._margin)
            self._buffer, self._lead = self._buffer[keep:], min(self._margin, self._lead + self._step)
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def finish(self) -> Float[np.ndarray, "m"]:
        """Return what is left."""
        rest = len(self._buffer) - self._lead
        if rest <= 0:
            return np.zeros(0, np.float32)
        return self._resampled(len(self._buffer))[: round(rest * SAMPLE_RATE / self._rate)]

    def _resampled(self, end: int) -> np.ndarray:
        """Return the buffer up to ``end`` at 16 kHz, from behind the lead on."""
        part = resample(Sound(self._buffer[None, :end], self._rate), SAMPLE_RATE).samples[0].numpy()
        return part[self._lead // self._down * self._up :]


class Pieces:
    """Cuts a stream into pieces of `HOP` feature frames."""

    def __init__(self, rate: int) -> None:
        """Start a stream of ``rate`` samples a second."""
        self._resampler, self._rate = Resampler(rate), rate
        self._samples, self._start, self._lead = np.zeros(0, np.float32), 0, 0

    @property
    def latency(self) -> float:
        """Seconds of sound behind a feature frame that must be there before it comes out."""
        return self._resampler.latency + (HOP * _FRAME + _AFTER) / SAMPLE_RATE

    @property
    def seconds(self) -> float:
        """Seconds of sound that have come."""
        return self._resampler.count / self._rate

    def push(self, samples: Float[torch.Tensor, "*channels n"]) -> list[Piece]:
        """Take samples, mono [n] or [channels, n], and return the pieces that are complete.

        Samples that are not finite count as silence.
        """
        mono = samples.float().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        mono = mono.mean(dim=0) if mono.ndim == 2 else mono
        return self._cut(self._resampler.push(mono), (HOP * _FRAME) + _AFTER)

    def finish(self) -> list[Piece]:
        """Return the last pieces; the very last may be shorter."""
        total = max(1, math.ceil(self._resampler.count * FEATURE_RATE / self._rate))
        found = self._cut(self._resampler.finish(), HOP * _FRAME + _AFTER)
        while self._start < total:
            found.append(self._piece(min(HOP, total - self._start)))
        return found

    def _cut(self, samples: np.ndarray, need: int) -> list[Piece]:
        self._samples = np.concatenate((self._samples, samples))
        found = []
        while len(self._samples) >= self._lead * _FRAME + need:
            found.append(self._piece(HOP))
        return found

    def _piece(self, frames: int) -> Piece:
        end = (self._lead + frames) * _FRAME
        piece = Piece(self._samples[: end + _AFTER], self._start, frames, self._lead)
        self._samples = self._samples[end - _FRAME :]  # one frame is kept: the next window reaches back into it
        self._start, self._lead = self._start + frames, 1
        return piece
