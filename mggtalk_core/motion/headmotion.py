"""Small movements of head and eyes that go with speech."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .blinks import pause_starts

SWAY_DEGREES = (2.0, 2.0, 1.3)
"""Standard deviation of yaw, pitch and roll of a talking head; a silent one sways half as much."""
SWAY_HERTZ = (0.08, 0.65)
"""Frequencies of the sway: below 1 Hz, where a head's own movement lies."""
NOD_DEGREES = 1.0
"""Depth of a nod on a loud syllable."""
NOD_SECONDS = 0.18
"""Half width of a nod."""
NOD_GAP = 0.9
"""Seconds between nods, at least."""
FADE_IN = 0.8
"""Seconds in which the movement sets in, so that the first frame is the portrait's own pose."""
SACCADE_DEGREES = (2.5, 1.2)
"""Standard deviation of glances aside: yaw, pitch."""
SACCADE_SECONDS = 1.4
"""Mean time for which the eyes stay on one place."""
STEADY_EYES = 0.7
"""Part of the head's turn that the eyes take back to stay on the viewer."""
_WAVES = 6


@dataclass(frozen=True)
class Liveliness:
    """Curves of ``T`` frames in degrees: + is to the subject's left and up; roll leans the crown to the left."""

    head: np.ndarray
    """Yaw, pitch, roll [T,3]."""
    gaze: np.ndarray
    """Yaw, pitch of both eyeballs relative to the head [T,2]."""
    emphasis: np.ndarray
    """0..1 [T]: stressed syllables, where a head nods and brows rise."""


def liveliness(fps: float, seed: int, opening: np.ndarray, speech: np.ndarray, *, strength: float = 1.0) -> Liveliness:
    """Return head and eye movement for speech; the same seed gives the same movement.

    ``opening``, ``speech``: opening of the mouth and voice activity, 0..1, at every frame [T]. ``strength`` scales all.
    """
    time = np.arange(len(speech)) / fps
    sway = np.stack([_waves(time, np.random.default_rng([seed, 10 + axis])) for axis in range(3)], axis=1)
    lively = 0.5 + 0.5 * _slow(speech, fps)
    fade = np.clip(time / FADE_IN, 0.0, 1.0)
    fade = fade * fade * (3.0 - 2.0 * fade)
    emphasis = _nods(opening, fps) * fade
    head = strength * sway * np.asarray(SWAY_DEGREES) * (lively * fade)[:, None]
    head[:, 1] -= strength * NOD_DEGREES * emphasis
    glance = _saccades(time, np.random.default_rng([seed, 20]), pause_starts(speech) / fps)
    gaze = strength * glance * fade[:, None] - STEADY_EYES * head[:, :2]
    return Liveliness(head, gaze, emphasis)


def _waves(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise of standard deviation 1: a few sines, one in each part of the band, slower ones larger."""
    low, high = np.log(SWAY_HERTZ)
    edges = np.linspace(low, high, _WAVES + 1)
    frequency = np.exp(rng.uniform(edges[:-1], edges[1:]))
    phase = rng.uniform(0.0, 2.0 * np.pi, _WAVES)
    weight = frequency**-0.5
    weight *= np.sqrt(2.0 / np.square(weight).sum())
    return (weight * np.sin(2.0 * np.pi * frequency * time[:, None] + phase)).sum(axis=1)


def _slow(values: np.ndarray, fps: float) -> np.ndarray:
    """Return values averaged over about a second, both ways in time."""
    width = 2 * round(0.5 * fps) + 1
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _nods(opening: np.ndarray, fps: float) -> np.ndarray:
    """Return 0..1 bumps on the loudest syllables, at least `NOD_GAP` apart."""
    inner = opening[1:-1]
    peaks = np.flatnonzero((inner >= opening[:-2]) & (inner > opening[2:]) & (inner > 0.6)) + 1
    curve, taken = np.zeros(len(opening)), []
    time = np.arange(len(opening)) / fps
    for peak in sorted(peaks.tolist(), key=lambda frame: (-opening[frame], frame)):
        if all(abs(peak - other) >= NOD_GAP * fps for other in taken):
            taken.append(peak)
            reach = slice(max(0, int(peak - 4 * NOD_SECONDS * fps)), int(peak + 4 * NOD_SECONDS * fps) + 2)
            bump = np.exp(-0.5 * ((time[reach] - peak / fps) / NOD_SECONDS) ** 2)
            curve[reach] = np.maximum(curve[reach], bump)
    return curve


def _saccades(time: np.ndarray, rng: np.random.Generator, pauses: np.ndarray) -> np.ndarray:
    """Return glances [T,2] in degrees: steps that last a frame or two; every other look goes back to the viewer."""
    gaze = np.zeros((len(time), 2))
    moment, away = 0.0, False
    target = np.zeros(2)
    while len(time) and moment < time[-1]:
        gaze[time >= moment] = target
        away = not away
        target = rng.normal(0.0, SACCADE_DEGREES) if away else rng.normal(0.0, 0.2, 2)
        moment += 0.3 + rng.gamma(2.0, (SACCADE_SECONDS - 0.3) / 2.0)
        near = pauses[np.abs(pauses - moment) < 0.3]
        moment = max(moment, float(near[0])) if len(near) else moment
    smoothed = gaze.copy()
    smoothed[1:] = 0.7 * gaze[1:] + 0.3 * gaze[:-1]
    return smoothed
