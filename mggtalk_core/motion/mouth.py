"""The mouth of a speaker, 52 coefficients a frame, from what was heard: by rules alone, or by the net and rules."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..portrait.blendshapes import BLENDSHAPES
from .audio_net import NET_RATE
from .channels import MOUTH_OPENING, indices
from .mouth_shapes import CLOSED, OPENING, OUTPUTS, PARTING, SHAPES, columns, gap_basis, spread
from .speech_features import FEATURE_RATE
from .visemes import CLOSED_LIPS, Segment, shape_vector, viseme_curves

LOUD_MOUTH: dict[str, float] = {"jawOpen": 0.42, "mouthLowerDown": 0.2, "mouthUpperUp": 0.08}
"""The mouth at full loudness, where loudness is all that is known."""

LIP_LEAD = 0.03
"""Seconds by which the mouth is ahead of the voice; 20-40 ms on tracked clips whose sound is in step."""

ARTICULATION = 1.2
"""How much farther lips part than the net says. It says the mean of what might be, which moves by two thirds of what
unheard speakers do; a fifth more is where its error is smallest (40 clips, speakers left out)."""
SHUT = 1.5
"""Log-odds above which the net's word alone closes the lips, and `SHUT_WIDTH` more until they are shut."""
SHUT_WIDTH = 1.5
LIKELY = -1.5
"""Log-odds above which a recognised P, B or M is believed; the recogniser alone is right on half of them."""
PARTING_SPEED = 1.5
"""Fastest parting of the lips, in eye distances a second: the 99th percentile of tracked speech of this spread."""
PARTING_SECONDS = 0.12
"""Time after a closure in which that limit holds; the widest mouth is reached by then."""
OPENS_BEFORE, CLOSES_AFTER = 0.25, 0.1
"""Seconds by which lips may part before a voice sets in, and stay parted after it has ended."""


@dataclass(frozen=True)
class Heard:
    """What was heard of a sound."""

    opening: Float[np.ndarray, "features"]
    """From the loudness, 0..1, at `FEATURE_RATE`."""
    activity: Float[np.ndarray, "features"]
    """Voice activity, 0..1, at `FEATURE_RATE`."""
    segments: list[Segment] | None = None
    """Phonemes; None where no recogniser is installed or wanted."""
    learned: Float[np.ndarray, "frames outputs"] | None = None
    """What the mouth net says, at `NET_RATE`; None where it is not wanted."""


def mouth(heard: Heard, frames: int, fps: float) -> Float[np.ndarray, "T 52"]:
    """Return the coefficients of the mouth in every frame; silence leaves it shut."""
    return ruled_mouth(heard, frames, fps) if heard.learned is None else learned_mouth(heard, frames, fps)


def ruled_mouth(heard: Heard, frames: int, fps: float) -> Float[np.ndarray, "T 52"]:
    """Return the average of what phonemes and loudness ask for; the loudness moves the mouth alone without phonemes."""
    opening, activity = (at_frames(curve, frames, fps)[:, None] for curve in (heard.opening, heard.activity))
    loud = opening * shape_vector(LOUD_MOUTH)
    if heard.segments is None:
        return loud
    shapes, closed = viseme_curves(heard.segments, len(heard.opening))
    # Quiet sounds are shaped less clearly; where the loudness has a say too, both meet halfway.
    shaped = at_frames(shapes, frames, fps) * activity * (0.6 + 0.4 * opening)
    both = np.where(shape_vector(LOUD_MOUTH) > 0.0, 0.5 * (shaped + loud), shaped)
    return with_shut_lips(both, peak_at_frames(closed * heard.activity, frames, fps))


def learned_mouth(heard: Heard, frames: int, fps: float) -> Float[np.ndarray, "T 52"]:
    """Return what the net says; lips are shut by it, by a P, B or M that it finds likely too, and by silence.

    An average with the opening that phonemes ask for, which helps the loudness, makes the net worse.
    """
    said = heard.learned
    voice = at_frames(voice_about(heard.activity), frames, fps)
    values = at_frames(said, frames, fps, NET_RATE, 0.0)
    log_odds = said[:, OUTPUTS.index(CLOSED)]
    lips = peak_at_frames(((log_odds - SHUT) / SHUT_WIDTH).clip(0.0, 1.0), frames, fps, NET_RATE, 0.0)
    if heard.segments is not None:
        closed = viseme_curves(heard.segments, len(heard.opening))[1]
        likely = peak_at_frames((log_odds - LIKELY).clip(0.0, 1.0), frames, fps, NET_RATE, 0.0)
        lips = np.maximum(lips, peak_at_frames(closed, frames, fps) * likely)
    shaped = values[:, : len(SHAPES)].clip(0.0) * voice[:, None] @ spread()
    opening = ARTICULATION * values[:, OUTPUTS.index(OPENING)].clip(0.0) * voice
    return parted_gently(with_shut_lips(with_opening(shaped, opening), lips * voice), fps)


def voice_about(activity: Float[np.ndarray, "features"]) -> Float[np.ndarray, "features"]:
    """Return the highest voice activity from `CLOSES_AFTER` before to `OPENS_BEFORE` after each feature frame.

    The net hears by itself when the lips part; this only makes sure that they do not in silence.
    """
    before, after = round(CLOSES_AFTER * FEATURE_RATE), round(OPENS_BEFORE * FEATURE_RATE)
    padded = np.pad(activity, (before, after), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, before + after + 1).max(axis=1)


def with_opening(beta: Float[np.ndarray, "T 52"], opening: Float[np.ndarray, "T"]) -> Float[np.ndarray, "T 52"]:
    """Return coefficients whose lips stand ``opening`` apart (over the eye distance), no more and no less.

    Jaw and lips share what is lacking in the proportion of `PARTING`; what is too much even with the jaw shut is
    closed by ``mouthClose``.
    """
    basis = gap_basis()[1]  # the model's lips touch at rest
    parting = shape_vector(PARTING)
    beta = beta + ((opening - beta @ basis) / float(parting @ basis))[:, None] * parting
    beta = beta.clip(0.0)
    close = columns("mouthClose")
    left = opening - beta @ basis
    beta[:, close] += np.minimum(left, 0.0)[:, None] / basis[close]
    return beta


def with_shut_lips(beta: Float[np.ndarray, "T 52"], lips: Float[np.ndarray, "T"]) -> Float[np.ndarray, "T 52"]:
    """Return coefficients with the lips shut where ``lips`` is 1."""
    opens = np.isin(np.arange(len(BLENDSHAPES)), indices(MOUTH_OPENING))
    return beta * (1.0 - lips[:, None] * opens) + lips[:, None] * shape_vector(CLOSED_LIPS)


def parted_gently(beta: Float[np.ndarray, "T 52"], fps: float) -> Float[np.ndarray, "T 52"]:
    """Return coefficients whose lips part no faster than `PARTING_SPEED`; how fast they close is left alone."""
    gap = (beta @ gap_basis()[1]).clip(0.0)
    reach = math.ceil(PARTING_SECONDS * fps)
    before = np.lib.stride_tricks.sliding_window_view(np.pad(gap, (reach, 0), mode="edge"), reach + 1)
    allowed = (before + PARTING_SPEED / fps * np.arange(reach, -1, -1)).min(axis=1)
    fast = allowed < gap
    return np.where(fast[:, None], with_opening(beta, allowed), beta)


def at_frames(
    curves: np.ndarray, frames: int, fps: float, rate: float = FEATURE_RATE, lead: float = LIP_LEAD
) -> np.ndarray:
    """Return curves at ``rate`` read at the frames' times, ``lead`` seconds ahead."""
    position = np.clip((np.arange(frames) / fps + lead) * rate - 0.5, 0.0, len(curves) - 1.0)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, len(curves) - 1)
    weight = (position - before).reshape(-1, *(1,) * (curves.ndim - 1))
    return curves[before] * (1.0 - weight) + curves[after] * weight


def peak_at_frames(
    curve: np.ndarray, frames: int, fps: float, rate: float = FEATURE_RATE, lead: float = LIP_LEAD
) -> np.ndarray:
    """Return the highest value within half a frame of each frame's time: a closure between two frames still shows."""
    half = math.ceil(0.5 * rate / fps)
    padded = np.pad(curve, half, mode="edge")
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1).max(axis=1)
    return at_frames(highest, frames, fps, rate, lead)
