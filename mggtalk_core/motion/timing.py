"""Frame counts, resampling in time, and motions of other lengths."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .motion import Motion
from .rotations import slerp

EXTENSIONS = ("hold", "mirror")
"""How a motion goes on after its end: hold the last frame, or play back and forth."""


def frame_count(seconds: float, fps: float) -> int:
    """Return the number of frames of a sound: ``max(1, floor(seconds x fps + 0.5))``."""
    return max(1, math.floor(seconds * fps + 0.5))


def check_fps(fps: float) -> float:
    """Return ``fps`` as a float.

    Raises:
        InputError: not a positive finite number.
    """
    if not (math.isfinite(fps) and fps > 0.0):
        raise InputError(f"{fps} frames per second is not possible; give a positive number.")
    return float(fps)


def resample_motion(motion: Motion, fps: float) -> Motion:
    """Return the motion at another frame rate: linear for coefficients, along the arc for rotations.

    The same rate gives the same motion, untouched. Frame 0 keeps its place.
    """
    if check_fps(fps) == motion.fps:
        return motion
    frames = frame_count(len(motion) / motion.fps, fps)
    position = torch.arange(frames, dtype=torch.float64) * (motion.fps / fps)
    return replace(_at(motion, position.clamp_max(len(motion) - 1)), fps=float(fps))


def take(motion: Motion, frames: Tensor) -> Motion:
    """Return the motion made of the given frames (indices), in their order."""
    held = set(motion.held)
    return replace(
        motion,
        beta=motion.beta[frames],
        gaze=motion.gaze[frames],
        rotation=motion.rotation[frames],
        translation=motion.translation[frames],
        held=tuple(place for place, frame in enumerate(frames.tolist()) if frame in held),
    )


def extend(motion: Motion, frames: int, how: str = "hold") -> Motion:
    """Return the motion cut or continued to ``frames`` frames, ``hold`` or ``mirror`` after its end.

    Raises:
        InputError: an unknown way to continue.
    """
    if how not in EXTENSIONS:
        raise InputError(f"Unknown continuation {how!r}; choose one of {', '.join(EXTENSIONS)}.")
    if frames == len(motion):
        return motion
    index = torch.arange(frames)
    last = len(motion) - 1
    if how == "hold" or last == 0:
        return take(motion, index.clamp_max(last))
    phase = index % (2 * last)
    return take(motion, torch.where(phase > last, 2 * last - phase, phase))


def _at(motion: Motion, position: Float[Tensor, "T"]) -> Motion:
    """Return the motion at fractional frame positions."""
    before = position.floor().long()
    after = (before + 1).clamp_max(len(motion) - 1)
    weight = position - before

    def lerp(curves: Tensor) -> Tensor:
        return torch.lerp(curves[before], curves[after], weight[:, None].to(curves))

    rotation = slerp(motion.rotation[before].double(), motion.rotation[after].double(), weight)
    held = set(motion.held)
    nearest = position.round().long().tolist()
    return replace(
        motion,
        beta=lerp(motion.beta),
        gaze=lerp(motion.gaze),
        rotation=rotation.to(motion.rotation.dtype),
        translation=lerp(motion.translation),
        held=tuple(place for place, frame in enumerate(nearest) if frame in held),
    )
