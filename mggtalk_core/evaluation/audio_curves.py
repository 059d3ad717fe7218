"""How far speech opens the mouth: the driving curve of a motion, and the curves of plainer drivers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..head.model import load_head_model
from ..media.audio import resample, to_mono
from ..media.sound import Sound
from ..motion.audio import motion_from_audio
from ..motion.phonemes import load_decoder, phoneme_segments
from ..motion.speech_features import FEATURE_RATE, feature_count, pieces
from ..motion.timing import frame_count
from ..motion.visemes import viseme_curves
from .landmarks import EYE_CORNERS, INNER_LIPS

Curve = Float[np.ndarray, "T"]
Driver = Callable[[Sound, float, int], Curve]
"""From a sound, frames per second and a seed to the opening of the mouth in every frame."""

WIDEST = 0.25
"""Opening that the loudest speech is given by `energy_curve`, over the eye distance."""
ENERGY_WINDOW = 0.05
"""Seconds over which the energy is taken."""
_QUIET = 3e-3  # of full scale: below it the logarithm of the energy means nothing


@cache
def _gap_basis() -> tuple[float, Float[Tensor, "52"]]:
    """Return the gap between the inner lips of the mean head at rest, and what each blendshape adds to it."""
    model = load_head_model()
    shapes = torch.stack([model.landmarks(shape) for shape in (model.mean, *model.expression_basis)])
    upper, lower = INNER_LIPS
    gaps = shapes[:, upper, 1] - shapes[:, lower, 1]
    right, left = EYE_CORNERS
    distance = float((shapes[0, right, :2] - shapes[0, left, :2]).norm())
    return float(gaps[0]) / distance, gaps[1:] / distance


def lip_opening(beta: Float[Tensor, "T 52"]) -> Curve:
    """Return the gap between the inner lips of the head model over its eye distance, as `mouth_opening` of a face.

    Lips that are pressed together are at 0.
    """
    rest, basis = _gap_basis()
    return (rest + beta.cpu() @ basis).clamp_min(0.0).numpy().astype(np.float64)


def system_curve(sound: Sound, fps: float, seed: int = 0) -> Curve:
    """Return the opening of this project's motion from sound."""
    return lip_opening(motion_from_audio(sound, fps, seed).beta)


def energy_curve(sound: Sound, fps: float, seed: int = 0) -> Curve:
    """Return the logarithm of the sound's energy in `ENERGY_WINDOW` about each frame, scaled to 0..`WIDEST`."""
    mono = resample(to_mono(sound), 16000).samples[0].numpy().astype(np.float64)
    frames, half = frame_count(sound.seconds, fps), round(0.5 * ENERGY_WINDOW * 16000)
    total = np.concatenate(([0.0], np.cumsum(np.pad(mono, (half, 2 * half)) ** 2)))
    start = np.minimum((np.arange(frames) / fps * 16000).astype(int), len(total) - 1 - 2 * half)
    level = np.log(np.sqrt((total[start + 2 * half] - total[start]).clip(0.0) / (2 * half)) + _QUIET)
    quiet, loud = np.log(_QUIET), max(np.percentile(level, 95), np.log(_QUIET) + 1.0)
    return WIDEST * ((level - quiet) / (loud - quiet)).clip(0.0, 1.2)


def phoneme_curve(sound: Sound, fps: float, seed: int = 0) -> Curve | None:
    """Return the opening that recognised phonemes ask for, or None where no recogniser is installed."""
    decoder = load_decoder()
    if decoder is None:
        return None
    segments = [found for piece in pieces(sound) for found in phoneme_segments(decoder, piece, lambda: None)]
    shapes, closed = viseme_curves(segments, feature_count(sound))
    opening = lip_opening(torch.from_numpy(shapes).float()) * (1.0 - closed)
    return at_frames(opening, frame_count(sound.seconds, fps), fps)


def constant_curve(sound: Sound, fps: float, seed: int = 0) -> Curve:
    """Return closed lips."""
    return np.zeros(frame_count(sound.seconds, fps))


def at_frames(curve: Curve, frames: int, fps: float) -> Curve:
    """Return a curve at `FEATURE_RATE`, read at the times of the frames."""
    return np.interp(np.arange(frames) / fps * FEATURE_RATE - 0.5, np.arange(len(curve)), curve)


DRIVERS: dict[str, Driver] = {
    "": system_curve,
    "_energy": energy_curve,
    "_phonemes": phoneme_curve,
    "_constant": constant_curve,
}
"""The system and what it is compared with, by the ending of their columns."""
