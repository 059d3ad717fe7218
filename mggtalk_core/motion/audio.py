"""Motion from speech: mouth from the sound, blinks, and small movements of head and eyes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from ..errors import InputError
from ..media.sound import Sound
from ..portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES
from ..progress import OnStep, ignore_steps
from .blinks import RATE
from .channels import MOUTH_OPENING, indices
from .energy import opening_curve
from .headmotion import Liveliness, liveliness
from .motion import Motion
from .phonemes import load_decoder, phoneme_segments
from .rig import EYE_DISTANCE, LID_ANGLE, neutral_state, pose_about_neck
from .speech_features import FEATURE_RATE, PIECE_SECONDS, band_levels, feature_count, pieces
from .timing import check_fps, frame_count
from .vad import voice_activity
from .visemes import CLOSED_LIPS, Segment, shape_vector, viseme_curves

LOUD_MOUTH: dict[str, float] = {"jawOpen": 0.42, "mouthLowerDown": 0.2, "mouthUpperUp": 0.08}
"""The mouth at full loudness, where loudness is all that is known."""

LIP_LEAD = 0.03
"""Seconds by which the mouth is ahead of the voice; 20-40 ms on tracked clips whose sound is in step."""


@dataclass(frozen=True)
class _Speech:
    """What was heard, at `FEATURE_RATE`."""

    opening: np.ndarray
    activity: np.ndarray
    segments: list[Segment] | None
    """None where no recogniser is installed or wanted."""


def motion_from_audio(
    sound: Sound,
    fps: float = 25.0,
    seed: int = 0,
    *,
    phonemes: bool = True,
    blink_rate: float = RATE,
    head_motion: float = 1.0,
    look: float = 0.0,
    on_step: OnStep = ignore_steps,
) -> Motion:
    """Return ``max(1, floor(seconds x fps + 0.5))`` frames of motion for a sound of any rate, channels and length.

    The mouth averages what the recognised phonemes ask for and the loudness in the band of open vowels; silence closes
    it, and P, B and M always do. Everything that is drawn by chance follows ``seed``.

    Args:
        sound: speech; samples that are not finite count as silence.
        fps: frames per second.
        seed: of blinks, glances and the sway of the head.
        phonemes: recognise phonemes where pocketsphinx is installed; otherwise the loudness moves the mouth alone.
        blink_rate: blinks a minute.
        head_motion: strength of the movement of head, eyes, brows and smile, 0 for none.
        look: how much the eyes are locked on the camera, 0..1: at 1 they stay on it wherever the head turns.
        on_step: called at least twice a second.

    Raises:
        InputError: a setting that is not finite or is negative, or a ``look`` beyond 1.
    """
    fps = check_fps(fps)
    if not 0.0 <= look <= 1.0:
        raise InputError(f"look is {look}; give a number from 0 to 1.")
    for name, value in (("blink_rate", blink_rate), ("head_motion", head_motion)):
        if not (math.isfinite(value) and value >= 0.0):
            raise InputError(f"{name} is {value}; give 0 or more.")
    speech = _listen(sound, phonemes, on_step)
    frames = frame_count(sound.seconds, fps)
    opening, activity = (_at_frames(curve, frames, fps) for curve in (speech.opening, speech.activity))
    life = liveliness(fps, seed, opening, activity, strength=head_motion, blink_rate=blink_rate, look=look)
    beta = _mouth(speech, frames, fps) + life.expression()
    return replace(_assemble(sound, fps, beta, life), look=look)


def _listen(sound: Sound, phonemes: bool, on_step: OnStep) -> _Speech:
    """Hear the sound piece by piece; what is kept of each second is a few hundred numbers."""
    decoder = load_decoder() if phonemes else None
    total = math.ceil(feature_count(sound) / (PIECE_SECONDS * FEATURE_RATE))
    whole, vowels, segments = [], [], []
    for done, piece in enumerate(pieces(sound), start=1):
        levels = band_levels(piece)
        whole.append(levels[0])
        vowels.append(levels[1])
        if decoder is not None:
            segments += phoneme_segments(decoder, piece, partial(on_step, done - 1, total))
        on_step(done, total)
    activity = voice_activity(np.concatenate(whole))
    opening = opening_curve(np.concatenate(vowels), activity)
    return _Speech(opening, activity, None if decoder is None else segments)


def _mouth(speech: _Speech, frames: int, fps: float) -> np.ndarray:
    """Return the mouth's coefficients [T,52]."""
    opening, activity = (_at_frames(curve, frames, fps)[:, None] for curve in (speech.opening, speech.activity))
    loud = opening * shape_vector(LOUD_MOUTH)
    if speech.segments is None:
        return loud
    shapes, closed = viseme_curves(speech.segments, len(speech.opening))
    # Quiet sounds are shaped less clearly; where the loudness has a say too, both meet halfway.
    shaped = _at_frames(shapes, frames, fps) * activity * (0.6 + 0.4 * opening)
    mouth = np.where(shape_vector(LOUD_MOUTH) > 0.0, 0.5 * (shaped + loud), shaped)
    lips = _peak_at_frames(closed * speech.activity, frames, fps)[:, None]
    opens = np.isin(np.arange(len(BLENDSHAPES)), indices(MOUTH_OPENING))
    return mouth * (1.0 - lips * opens) + lips * shape_vector(CLOSED_LIPS)


def _at_frames(curves: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """Return curves at `FEATURE_RATE` read at the frames' times, `LIP_LEAD` ahead."""
    position = np.clip((np.arange(frames) / fps + LIP_LEAD) * FEATURE_RATE - 0.5, 0.0, len(curves) - 1.0)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, len(curves) - 1)
    weight = (position - before).reshape(-1, *(1,) * (curves.ndim - 1))
    return curves[before] * (1.0 - weight) + curves[after] * weight


def _peak_at_frames(curve: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """Return the highest value within half a frame of each frame's time: a closure between two frames still shows."""
    half = math.ceil(0.5 * FEATURE_RATE / fps)
    padded = np.pad(curve, half, mode="edge")
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1).max(axis=1)
    return _at_frames(highest, frames, fps)


def _assemble(sound: Sound, fps: float, beta: np.ndarray, life: Liveliness) -> Motion:
    rest = neutral_state()
    rotation, swing = pose_about_neck(torch.from_numpy(life.head))
    for side in ("Left", "Right"):
        beta[:, BLENDSHAPE_INDEX[f"eyeLookUp{side}"]] += np.clip(life.gaze[:, 1] / LID_ANGLE, 0.0, 1.0)
        beta[:, BLENDSHAPE_INDEX[f"eyeLookDown{side}"]] += np.clip(-life.gaze[:, 1] / LID_ANGLE, 0.0, 1.0)
    gaze = torch.deg2rad(torch.from_numpy(np.tile(life.gaze, (1, 2))))
    return Motion(
        beta=torch.from_numpy(beta).float(),
        gaze=gaze.float(),
        rotation=rotation.float(),
        translation=(rest.translation + swing).float(),
        fps=fps,
        rest=rest,
        eye_distance=EYE_DISTANCE,
        kind="audio",
        sound=sound,
        start=rest,
        speech=1.0,
    )
