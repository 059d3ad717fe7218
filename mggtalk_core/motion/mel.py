"""Log-mel spectra of speech, frame by frame: what the mouth net hears."""

from __future__ import annotations

from functools import cache

import numpy as np

from .speech_features import FEATURE_RATE, SAMPLE_RATE, Piece, windows

BANDS = 80
LOWEST, HIGHEST = 55.0, 7600.0
"""Hz: edges of the lowest and the highest band."""
PRE_EMPHASIS = 0.97
LOUD_PART = 0.6
"""Quantile of the frames' levels above which the level of a voice is read: a good part of most recordings is pauses."""
FLOOR = -11.0
"""Natural logarithm of power relative to the voice (48 dB below it): what is quieter counts as silence."""
SCALE = 3.0
_TINY = 1e-10


def log_mel(piece: Piece) -> np.ndarray:
    """Return the natural logarithm of the power in 80 mel bands, float32 [frames,80], at `FEATURE_RATE`.

    A frame depends on the samples under its own 25 ms window alone, so pieces give what the whole sound gives.
    """
    frames = windows(piece)
    emphasised = np.concatenate(
        (frames[:, :1] * (1.0 - PRE_EMPHASIS), frames[:, 1:] - PRE_EMPHASIS * frames[:, :-1]), 1
    )
    power = np.abs(np.fft.rfft(emphasised * np.hanning(frames.shape[1]), 2 * (len(mel_filters()[0]) - 1))) ** 2
    return np.log(power @ mel_filters().T + _TINY).astype(np.float32)


@cache
def mel_filters(fft: int = 512) -> np.ndarray:
    """Return triangular filters of equal area [80, fft/2+1] on O'Shaughnessy's mel scale, 2595 log10(1 + f/700)."""
    low, high = (2595.0 * np.log10(1.0 + edge / 700.0) for edge in (LOWEST, HIGHEST))
    edges = 700.0 * (10.0 ** (np.linspace(low, high, BANDS + 2) / 2595.0) - 1.0)
    frequency = np.fft.rfftfreq(fft, 1.0 / SAMPLE_RATE)
    rising = (frequency - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequency) / (edges[2:] - edges[1:-1])[:, None]
    # Narrow low bands can lie between two bins of the transform: no filter is narrower than one bin.
    width = np.maximum(edges[2:] - edges[:-2], frequency[1])
    return np.maximum(np.minimum(rising, falling), 0.0) * (2.0 / width[:, None])


def voice_level(mel: np.ndarray) -> float:
    """Return the level of the voice in a log-mel spectrum [frames,80]: the mean over its louder frames."""
    levels = mel.mean(axis=1)
    return float(levels[levels >= np.quantile(levels, LOUD_PART)].mean())


def normalised(mel: np.ndarray, level: float) -> np.ndarray:
    """Return a log-mel spectrum relative to the voice's level, near 0 in speech and at least ``FLOOR / SCALE``."""
    return np.log(np.exp(mel - np.float32(level)) + np.float32(np.exp(FLOOR))) / np.float32(SCALE)


def silence_frame() -> np.ndarray:
    """Return the normalised spectrum of silence [80]."""
    return np.full(BANDS, FLOOR / SCALE, dtype=np.float32)


MEL_RATE = FEATURE_RATE
"""Frames per second."""
