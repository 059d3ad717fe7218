"""Two motions in one, region by region: the mouth from here, the eyes from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .channels import FACE_REGIONS, REGIONS, SPEECH_REGIONS, region_mask
from .motion import Motion, Rest
from .rotations import slerp
from .timing import extend, frame_count, resample_motion


def mix_motions(
    first: Motion,
    second: Motion,
    weights: Mapping[str, float],
    *,
    fps: float | None = None,
    continuation: str = "hold",
    length: str = "first",
) -> Motion:
    """Return ``first`` with regions taken from ``second``; weight 0 keeps the first exactly, 1 takes the second.

    Args:
        first: gives the frame rate unless ``fps`` is given.
        second: resampled to that rate.
        weights: region (one of `REGIONS`) to weight in 0..1; a region that is not named stays the first's.
        fps: frame rate of the result.
        continuation: ``hold`` or ``mirror``: what the shorter one does after its end.
        length: ``first`` or ``second``: the one whose length the result has (with sound: the sound's); the other is
            cut or continued.

    Raises:
        InputError: an unknown region, length or continuation, or a weight outside 0..1.
    """
    share = _region_weights(weights)
    rate = first.fps if fps is None else fps
    frames = _length(first, second, rate, length)
    first, second = (extend(resample_motion(motion, rate), frames, continuation) for motion in (first, second))
    states = {"rest": (first.rest, second.rest), "start": (_start(first), _start(second))}
    beta, gaze, head = _beta_weights(share), share["gaze"], share["head"]
    return replace(
        first,
        beta=_blend(first.beta, second.beta, beta),
        gaze=_blend(first.gaze, second.gaze, torch.tensor(gaze)),
        rotation=_blend_rotation(first.rotation, second.rotation, head),
        translation=_blend(first.translation, _placed(second, first), torch.tensor(head)),
        kind="mixed",
        sound=(second.sound or first.sound) if share["mouth"] > 0.0 else (first.sound or second.sound),
        held=_held(first, second, share),
        speech=first.speech + share["mouth"] * (second.speech - first.speech),
        neutral=_blend_neutral(first, second, beta),
        look=first.look + share["gaze"] * (second.look - first.look),
        **{name: _blend_states(*pair, share, first, second) for name, pair in states.items()},
    )


def mix_audio_video(audio: Motion, video: Motion, *, fps: float | None = None) -> Motion:
    """Return the video's (or file's) motion with the mouth of the sound: jaw, lips and tongue.

    It has the sound's length, at the video's rate; a video that ends before the sound is played back and forth.
    """
    weights = dict.fromkeys(SPEECH_REGIONS, 1.0)
    return mix_motions(video, audio, weights, fps=fps, continuation="mirror", length="second")


def _length(first: Motion, second: Motion, fps: float, whose: str) -> int:
    if whose not in ("first", "second"):
        raise InputError(f"Unknown length {whose!r}; choose first or second.")
    leader = first if whose == "first" else second
    heard = leader.sound.seconds if whose == "second" and leader.sound is not None else len(leader) / leader.fps
    return frame_count(heard, fps)


def _region_weights(weights: Mapping[str, float]) -> dict[str, float]:
    for region, weight in weights.items():
        if region not in REGIONS:
            raise InputError(f"Unknown region {region!r}; choose from {', '.join(REGIONS)}.")
        if not 0.0 <= weight <= 1.0:
            raise InputError(f"The weight {weight} of {region} is outside 0..1.")
    return {region: float(weights.get(region, 0.0)) for region in REGIONS}


def _beta_weights(share: Mapping[str, float]) -> Float[Tensor, "52"]:
    return sum(region_mask(region) * share[region] for region in FACE_REGIONS)


def _blend(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Blend, exact at both ends: ``first + 1 x (second - first)`` would miss the second by a rounding."""
    weight = weight.to(first)
    return torch.where(weight == 1.0, second, first + weight * (second - first))


def _blend_rotation(
    first: Float[Tensor, "T 3 3"], second: Float[Tensor, "T 3 3"], weight: float
) -> Float[Tensor, "T 3 3"]:
    if weight in (0.0, 1.0):
        return second if weight else first
    arc = slerp(first.double(), second.double(), torch.full((len(first),), weight, dtype=torch.float64))
    return arc.to(first.dtype)


def _placed(second: Motion, first: Motion) -> Float[Tensor, "T 3"]:
    """Return the second's translation in units of the first's head."""
    scale = first.eye_distance / second.eye_distance
    return second.translation if scale == 1.0 else second.translation * scale


def _start(motion: Motion) -> Rest:
    if motion.start is not None:
        return motion.start
    return Rest(motion.beta[0], motion.gaze[0], motion.rotation[0], motion.translation[0])


def _blend_states(first: Rest, second: Rest, share: Mapping[str, float], one: Motion, other: Motion) -> Rest:
    scale = one.eye_distance / other.eye_distance
    return Rest(
        beta=_blend(first.beta, second.beta, _beta_weights(share)),
        gaze=_blend(first.gaze, second.gaze, torch.tensor(share["gaze"])),
        rotation=_blend_rotation(first.rotation[None], second.rotation[None], share["head"])[0],
        translation=_blend(first.translation, second.translation * scale, torch.tensor(share["head"])),
    )


def _blend_neutral(first: Motion, second: Motion, weight: Float[Tensor, "52"]) -> Float[Tensor, "52"] | None:
    if first.neutral is None and second.neutral is None:
        return None
    one, other = (torch.zeros_like(weight) if m.neutral is None else m.neutral for m in (first, second))
    return _blend(one, other, weight)


def _held(first: Motion, second: Motion, share: Mapping[str, float]) -> tuple[int, ...]:
    """Return the frames that are held in a motion that still has a part in the mixture."""
    held = set(first.held) if min(share.values()) < 1.0 else set()
    if max(share.values()) > 0.0:
        held |= set(second.held)
    return tuple(sorted(held))
