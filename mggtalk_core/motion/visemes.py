"""What the mouth does for each speech sound."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES
from .speech_features import FEATURE_RATE
from .vad import same_convolution

VISEMES: dict[str, dict[str, float]] = {
    "rest": {},
    "closed": {},
    "lip-teeth": {"jawOpen": 0.06, "mouthRollLower": 0.35, "mouthUpperUp": 0.15, "mouthLowerDown": 0.05},
    "tongue-teeth": {"jawOpen": 0.14, "mouthLowerDown": 0.2, "mouthUpperUp": 0.05, "tongueOut": 0.15},
    "tongue-ridge": {"jawOpen": 0.14, "mouthLowerDown": 0.2, "mouthUpperUp": 0.08, "mouthStretch": 0.05},
    "hiss": {"jawOpen": 0.07, "mouthLowerDown": 0.22, "mouthUpperUp": 0.12, "mouthStretch": 0.15, "mouthSmile": 0.05},
    "hush": {"jawOpen": 0.12, "mouthFunnel": 0.4, "mouthPucker": 0.25, "mouthLowerDown": 0.1},
    "back": {"jawOpen": 0.2, "mouthLowerDown": 0.15, "mouthUpperUp": 0.05},
    "lateral": {"jawOpen": 0.2, "mouthLowerDown": 0.18, "mouthUpperUp": 0.05},
    "rhotic": {"jawOpen": 0.15, "mouthFunnel": 0.25, "mouthPucker": 0.2},
    "glide": {"jawOpen": 0.08, "mouthFunnel": 0.2, "mouthPucker": 0.6},
    "open": {"jawOpen": 0.5, "mouthLowerDown": 0.25, "mouthUpperUp": 0.1},
    "open-front": {"jawOpen": 0.45, "mouthLowerDown": 0.28, "mouthUpperUp": 0.15, "mouthStretch": 0.15},
    "mid": {"jawOpen": 0.32, "mouthLowerDown": 0.2, "mouthUpperUp": 0.08},
    "mid-front": {"jawOpen": 0.3, "mouthLowerDown": 0.25, "mouthUpperUp": 0.1, "mouthStretch": 0.2},
    "close-front": {"jawOpen": 0.16, "mouthLowerDown": 0.2, "mouthStretch": 0.25, "mouthSmile": 0.2},
    "open-round": {"jawOpen": 0.42, "mouthFunnel": 0.35, "mouthPucker": 0.1},
    "mid-round": {"jawOpen": 0.28, "mouthFunnel": 0.35, "mouthPucker": 0.35},
    "close-round": {"jawOpen": 0.12, "mouthFunnel": 0.25, "mouthPucker": 0.6},
}
"""Blendshapes of each viseme; a name without a side moves both. The opening of stressed vowels is that of the clearest
speech in tracked clips (jawOpen 0.3-0.5 at the 95th percentile); how far it is reached is up to the loudness."""

PHONEMES: dict[str, tuple[str, ...]] = {
    "P": ("closed",), "B": ("closed",), "M": ("closed",), "F": ("lip-teeth",), "V": ("lip-teeth",),
    "TH": ("tongue-teeth",), "DH": ("tongue-teeth",), "T": ("tongue-ridge",), "D": ("tongue-ridge",),
    "N": ("tongue-ridge",), "S": ("hiss",), "Z": ("hiss",), "SH": ("hush",), "ZH": ("hush",), "CH": ("hush",),
    "JH": ("hush",), "K": ("back",), "G": ("back",), "NG": ("back",), "HH": ("back",), "L": ("lateral",),
    "R": ("rhotic",), "ER": ("rhotic",), "W": ("glide",), "Y": ("close-front",), "AA": ("open",), "AE": ("open-front",),
    "AH": ("mid",), "AO": ("open-round",), "EH": ("mid-front",), "IH": ("close-front",), "IY": ("close-front",),
    "UH": ("mid-round",), "UW": ("close-round",), "OW": ("mid-round", "close-round"),
    "OY": ("open-round", "close-front"), "AW": ("open", "close-round"),
    "AY": ("open", "close-front"), "EY": ("mid-front", "close-front"),
}  # fmt: skip
"""ARPAbet sounds (as CMUdict writes them) to visemes; diphthongs pass through two. Others are rest."""

CLOSED_LIPS: dict[str, float] = {"mouthPress": 0.2, "mouthRollLower": 0.08, "mouthRollUpper": 0.08}
"""What closed lips add to a mouth without any opening; more of it would push one lip through the other."""

COARTICULATION = 0.13
"""Seconds over which neighbouring sounds melt into each other (width of the window)."""
CLOSURE = 0.05
"""Seconds over which the lips of P, B and M close; they must close even in quick speech."""

Segment = tuple[str, int, int]
"""A phoneme with its first feature frame and the one after its last."""


def shape_vector(shapes: dict[str, float]) -> np.ndarray:
    """Return 52 coefficients of a table row; a name without a side sets both sides."""
    vector = np.zeros(len(BLENDSHAPES))
    for name, value in shapes.items():
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in BLENDSHAPE_INDEX:
                vector[BLENDSHAPE_INDEX[full]] = value
    return vector


def viseme_curves(segments: Iterable[Segment], frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the shapes of speech [F,52] without closed lips, and how far the lips are closed [F] in 0..1."""
    table = {name: shape_vector(shapes) for name, shapes in VISEMES.items()}
    shapes, closed = np.zeros((frames, len(BLENDSHAPES)), dtype=np.float32), np.zeros(frames)
    for phoneme, start, end in segments:
        names = PHONEMES.get(phoneme, ("rest",))
        bounds = np.linspace(start, end, len(names) + 1).round().astype(int)
        for name, first, last in zip(names, bounds[:-1], bounds[1:], strict=True):
            shapes[first:last] = table[name]
            if name == "closed":
                closed[first:last] = 1.0
    for column in np.flatnonzero(shapes.any(axis=0)):  # one at a time: an hour of sound has many frames
        shapes[:, column] = same_convolution(shapes[:, column], _hann(COARTICULATION))
    return shapes, same_convolution(closed, _hann(CLOSURE))


def _hann(seconds: float) -> np.ndarray:
    half = max(1, round(0.5 * seconds * FEATURE_RATE))
    kernel = np.hanning(2 * half + 3)[1:-1]
    return kernel / kernel.sum()
