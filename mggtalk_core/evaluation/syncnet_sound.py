"""The sound as SyncNet hears it: mel-frequency cepstral coefficients, a hundred times a second."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float

from ..media.audio import resample, to_mono
from ..media.sound import Sound
from .syncnet import COEFFICIENTS

SAMPLE_RATE, WINDOW, HOP, FFT = 16000, 400, 160, 512
BANDS = 26
PRE_EMPHASIS = 0.97
LIFTER = 22
FULL_SCALE = 32768.0
"""The network was taught on samples of 16 bits, as whole numbers: the energy of a frame says so."""


def samples_of(sound: Sound) -> Float[np.ndarray, "n"]:
    """Return mono samples at 16 kHz as whole numbers of 16 bits."""
    mono = resample(to_mono(sound), SAMPLE_RATE).samples[0].double().numpy()
    return np.clip(np.round(mono * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1.0)


def speech_coefficients(samples: Float[np.ndarray, "n"]) -> Float[np.ndarray, "13 columns"]:
    """Return 13 coefficients of every frame of 25 ms, the first of which is the logarithm of the frame's energy.

    The frames are not windowed, and the last is filled up with silence.
    """
    from scipy.fft import dct

    emphasised = samples.astype(np.float64)
    emphasised[1:] -= PRE_EMPHASIS * samples[:-1]
    count = 1 + max(0, -(-(len(samples) - WINDOW) // HOP))
    padded = np.pad(emphasised, (0, max(0, (count - 1) * HOP + WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count]
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2 / FFT
    bands = _logarithm(power @ _filters().T)
    lift = 1.0 + LIFTER / 2.0 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    result = dct(bands, norm="ortho")[:, :COEFFICIENTS] * lift
    result[:, 0] = _logarithm(power.sum(axis=1))
    return result.T


def _logarithm(values: np.ndarray) -> np.ndarray:
    return np.log(np.where(values == 0.0, np.finfo(np.float64).eps, values))


@cache
def _filters() -> Float[np.ndarray, "26 257"]:
    """Return triangles of height 1 whose corners lie on bins of the transform, even on the mel scale up to 8 kHz."""
    highest = 2595.0 * np.log10(1.0 + SAMPLE_RATE / 2.0 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, highest, BANDS + 2) / 2595.0) - 1.0)
    corners = np.floor((FFT + 1) * edges / SAMPLE_RATE)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    bins = np.arange(FFT // 2 + 1)
    rising = np.where((bins >= low) & (bins < middle), (bins - low) / np.maximum(middle - low, 1.0), 0.0)
    falling = np.where((bins >= middle) & (bins < high), (high - bins) / np.maximum(high - middle, 1.0), 0.0)
    return rising + falling
