"""Other voices and other rooms: what is done to spectra so that a few dozen speakers stand for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..motion.mel import BANDS, FLOOR, MEL_RATE

SILENCE = 2.0 * FLOOR
"""Log power, relative to the voice, of what lies beyond the ends of a recording."""


@dataclass(frozen=True)
class Augmentation:
    """Ranges that each example is drawn from; see the functions that use them."""

    tempo: tuple[float, float] = (0.8, 1.25)
    tract: tuple[float, float] = (0.78, 1.28)
    """Vocal tract length: frequencies are multiplied by this."""
    level: float = 1.3
    """Standard deviation of the level in natural logarithms of power (6 dB)."""
    tilt: float = 1.8
    """Standard deviation of the difference between the lowest and the highest band."""
    noise: float = 0.65
    """Share of the examples that get noise."""
    reverberation: float = 0.35
    """Share of the examples that get a room."""
    silence: float = 0.35
    """Share of the examples in which a stretch falls silent, and the mouth with it."""
    masks: float = 0.4
    """Share of the examples that lose a few neighbouring bands."""
    steady: float = 0.04
    """Share of the examples that are nothing but noise or hum as loud as a voice, and the mouth stays shut."""


LIGHT = Augmentation((0.85, 1.18), (0.83, 1.2), level=0.9, tilt=1.0, noise=0.5, reverberation=0.25, masks=0.3)
GENTLE = Augmentation((0.95, 1.05), (0.95, 1.05), 0.3, tilt=0.4, noise=0.25, reverberation=0.1, silence=0.25, masks=0.0)
"""For nets that hear through the trunk, which knows other voices and rooms already."""
PLAIN = Augmentation((1.0, 1.0), (1.0, 1.0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def at_positions(mel: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return a spectrum [M,80] read at fractional frames, silent beyond its ends."""
    inside = (positions >= 0.0) & (positions <= len(mel) - 1.0)
    place = np.clip(positions, 0.0, len(mel) - 1.0)
    before = np.floor(place).astype(int)
    after, weight = np.minimum(before + 1, len(mel) - 1), (place - before)[:, None].astype(np.float32)
    return np.where(inside[:, None], mel[before] * (1.0 - weight) + mel[after] * weight, np.float32(SILENCE))


def other_voice(mel: np.ndarray, kinds: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return a spectrum of a longer or shorter vocal tract, another level and another microphone."""
    scale = rng.uniform(*kinds.tract)
    place = np.clip(np.arange(BANDS) / scale, 0.0, BANDS - 1.0)
    before = np.floor(place).astype(int)
    after, weight = np.minimum(before + 1, BANDS - 1), (place - before).astype(np.float32)
    warped = mel[:, before] * (1.0 - weight) + mel[:, after] * weight
    slope = rng.normal(0.0, kinds.tilt) * np.linspace(-0.5, 0.5, BANDS)
    bump = rng.normal(0.0, 0.4 * kinds.tilt) * np.cos(np.pi * rng.uniform(1.0, 4.0) * np.linspace(0, 1, BANDS))
    return (warped + rng.normal(0.0, kinds.level) + slope + bump).astype(np.float32)


def other_room(mel: np.ndarray, kinds: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return a spectrum with reverberation and with coloured, slightly unsteady noise, each by chance."""
    from scipy.signal import lfilter

    power = np.exp(mel)
    if rng.random() < kinds.reverberation:
        seconds, share = rng.uniform(0.15, 0.7), rng.uniform(0.05, 0.4)
        decay = 10.0 ** (-6.0 / (seconds * MEL_RATE))  # 60 dB over the reverberation time
        power += lfilter(np.float32([0.0, share * (1.0 - decay)]), np.float32([1.0, -decay]), power, axis=0)
    if rng.random() < kinds.noise:
        colour = rng.normal(0.0, 1.5) * np.linspace(-0.5, 0.5, BANDS) - rng.uniform(2.0, 9.0)
        knots = rng.normal(0.0, 0.5, len(mel) // 50 + 2)
        wander = np.interp(np.arange(len(mel)) / 50.0, np.arange(len(knots)), knots)
        grain = rng.standard_gamma(2.0, mel.shape, dtype=np.float32)  # mean of two squared magnitudes
        power += grain * (0.5 * np.exp(wander))[:, None].astype(np.float32) * np.exp(colour).astype(np.float32)
    return np.log(power + np.float32(1e-12))


def falls_silent(frames: int, kinds: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return which frames of the spectrum are made silent: none, or one stretch of 0.3 to 1.5 s."""
    quiet = np.zeros(frames, dtype=bool)
    if rng.random() < kinds.silence:
        length = int(rng.uniform(0.3, 1.5) * MEL_RATE)
        start = int(rng.integers(0, max(1, frames - length)))
        quiet[start : start + length] = True
    return quiet


def steady_noise(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return the spectrum [frames,80] of coloured noise, by chance with a hum of a few bands, at the level of a voice.

    A recording without a voice is measured against itself: what is loudest in it then stands where a voice would.
    """
    place = np.linspace(0.0, 1.0, BANDS)
    colour = rng.normal(0.0, 3.0) * place + rng.normal(0.0, 1.0) * np.cos(np.pi * rng.uniform(1.0, 4.0) * place)
    if rng.random() < 0.4:
        for centre in rng.integers(0, BANDS, rng.integers(1, 5)):
            colour += rng.uniform(3.0, 20.0) * np.exp(-0.5 * ((np.arange(BANDS) - centre) / rng.uniform(0.4, 1.5)) ** 2)
    grain = np.log(0.5 * rng.standard_gamma(2.0, (frames, BANDS), dtype=np.float32) + np.float32(1e-3))
    mel = colour.astype(np.float32) + grain * np.float32(rng.uniform(0.0, 1.0))
    return mel - mel.mean()


def masked(mel: np.ndarray, kinds: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return a normalised spectrum with a few neighbouring bands at 0, by chance."""
    if rng.random() < kinds.masks:
        first, count = int(rng.integers(0, BANDS - 12)), int(rng.integers(2, 12))
        mel = mel.copy()
        mel[:, first : first + count] = 0.0
    return mel
