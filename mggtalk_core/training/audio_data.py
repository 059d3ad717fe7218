"""What the mouth net learns from: sounds with the mouths that spoke them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from ..errors import InputError
from ..media.audio import read_sound
from ..media.sound import Sound
from ..motion.mel import log_mel, voice_level
from ..motion.mouth_shapes import CLOSED, OPENING, OUTPUTS, SHAPES, gap_basis, gathered, spread
from ..motion.speech_features import pieces
from .tracks import ClipTrack

REFERENCE_SPREAD = 0.055
"""Standard deviation of the lips' gap (over the eye distance) that every speaker is brought to: the median of them."""
LEAST_SPREAD = 0.012
"""A mouth that moves less than this says too little about speech."""
LARGEST_GAIN = 2.0
"""Shapes of a mumbling speaker are not made larger than this many times: their noise would be too."""
REST = 0.1
"""Part of the frames in which a coefficient lies below its rest."""

CAPTURE_RATE = 30.0
CAPTURE_SHAPES: dict[str, dict[str, float]] = {
    "jawOpen": {"mouth_stretch_c": 1.0, "mouth_oh_c": 0.35},
    "mouthFunnel": {"mouth_funnel_dl": 0.4, "mouth_funnel_ul": 0.4, "mouth_oh_c": 0.4},
    "mouthPucker": {"mouth_pucker_l": 1.0, "mouth_oo_c": 0.6},
    "mouthRollLower": {"mouth_suck_dl": 1.0},
    "mouthRollUpper": {"mouth_suck_ul": 1.0},
    "mouthLowerDown": {"mouth_lowerLipDepress_l": 1.0},
    "mouthUpperUp": {"mouth_upperLipRaise_l": 1.0},
}
"""FACEGOOD's weights (one side of those with two) in terms of our shapes; the others are not known there."""


@dataclass(frozen=True)
class Speech:
    """Somebody speaking: the sound and what the mouth did."""

    name: str
    speaker: str
    mel: Float[np.ndarray, "mels 80"]
    """Log-mel spectrum, not normalised."""
    values: Float[np.ndarray, "T outputs"]
    """`OUTPUTS` of the net: shapes and opening above their rest, and whether the lips are shut (0 or 1)."""
    known: tuple[bool, ...]
    """Which of `OUTPUTS` were recorded."""
    fps: float
    lag: float = 0.0
    """Seconds by which the sound comes later than the lips."""
    trust: float = 1.0
    """Weight in training: less where the lag is not proven."""

    @cached_property
    def level(self) -> float:
        """Level of the voice, see `voice_level`."""
        return voice_level(self.mel)

    @property
    def opening(self) -> Float[np.ndarray, "T"]:
        """The gap between the lips."""
        return self.values[:, OUTPUTS.index(OPENING)]

    def targets(
        self, times: Float[np.ndarray, "n"]
    ) -> tuple[Float[np.ndarray, "n outputs"], Bool[np.ndarray, "n outputs"]]:
        """Return the values at times of the sound in seconds, and where they are known."""
        frames = (times - self.lag) * self.fps
        inside = (frames >= -0.5) & (frames <= len(self.values) - 0.5)
        place = np.clip(frames, 0.0, len(self.values) - 1.0)
        before = np.floor(place).astype(int)
        after, weight = np.minimum(before + 1, len(self.values) - 1), (place - before)[:, None]
        values = self.values[before] * (1.0 - weight) + self.values[after] * weight
        return values, inside[:, None] & np.array(self.known)


def spectrum(sound: Sound) -> Float[np.ndarray, "mels 80"]:
    """Return the log-mel spectrum of a whole sound."""
    return np.concatenate([log_mel(piece) for piece in pieces(sound)])


def speech_from_track(name: str, speaker: str, track: ClipTrack, sound: Sound) -> Speech:
    """Return a tracked clip with its sound; lag and trust are not judged yet.

    Raises:
        InputError: the mouth hardly moves, or the clip is shorter than a second.
    """
    beta = track.beta.numpy().astype(np.float64)
    values = to_reference(name, gathered(beta), beta @ gap_basis()[1], track.fps)
    return Speech(name, speaker, spectrum(sound), values, tuple(output != CLOSED for output in OUTPUTS), track.fps)


def speech_from_capture(folder: str | os.PathLike[str], stem: str) -> Speech:
    """Return one recording of FACEGOOD-Audio2Face: sound, and 116 weights 30 times a second turned into ours.

    Raises:
        InputError: the folder lacks the recording or the names of its columns.
    """
    folder = Path(folder)
    try:
        # The list begins with a line of its own for the first column: both sides of a shape are equal only so.
        names = (folder / "columns.txt").read_text(encoding="utf-8").split()
        weights = np.load(folder / f"{stem}.npz")["weights"].astype(np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{folder} lacks {stem} or columns.txt; give the folder of audio2face.") from error
    shapes = np.zeros((len(weights), len(SHAPES)))
    for shape, parts in CAPTURE_SHAPES.items():
        shapes[:, SHAPES.index(shape)] = sum(share * weights[:, names.index(name)] for name, share in parts.items())
    values = to_reference(stem, shapes, shapes @ (spread() @ gap_basis()[1]), CAPTURE_RATE)
    known = tuple(output in (*CAPTURE_SHAPES, OPENING) for output in OUTPUTS)
    return Speech(stem, "facegood", spectrum(read_sound(folder / f"{stem}.flac")), values, known, CAPTURE_RATE)


def to_reference(
    name: str, shapes: Float[np.ndarray, "T shapes"], gap: Float[np.ndarray, "T"], fps: float
) -> Float[np.ndarray, "T outputs"]:
    """Return the net's outputs of a speaker, above the rest and as wide as those of any other.

    Raises:
        InputError: the mouth hardly moves, or there is less than a second of it.
    """
    movement = float(gap.std())
    if movement < LEAST_SPREAD or len(gap) < fps:
        raise InputError(f"{name}: the mouth hardly moves, or the clip is too short; leave it out.")
    gain = REFERENCE_SPREAD / movement
    above = (shapes - np.quantile(shapes, REST, axis=0)) * min(gain, LARGEST_GAIN)
    opening = (gap - np.quantile(gap, REST)) * gain
    return np.concatenate((above, opening[:, None], np.zeros((len(gap), 1))), axis=1)
