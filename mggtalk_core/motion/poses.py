"""One pose after the other: key frames of a rig, each held for a while and reached by easing."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .motion import Motion
from .rig import NECK, eased, motion_from_rig
from .rotations import slerp


def append_pose(
    pose: Motion, *, move: float, hold: float, easing: str = "smooth", previous: Motion | None = None
) -> Motion:
    """Return ``previous`` (or the portrait as it is), a movement to ``pose`` and a rest in it.

    Args:
        pose: a rig of one frame; its rate counts where nothing goes before.
        move: seconds from where the previous motion ends to the pose.
        hold: seconds in the pose; it is seen in one frame at least.
        easing: one of `EASINGS`.
        previous: the rig so far, whose rate is kept.

    Raises:
        InputError: times that are negative or not finite, an unknown easing, or a previous motion that is no rig.
    """
    for name, value in (("move", move), ("hold", hold)):
        if not (math.isfinite(value) and value >= 0.0):
            raise InputError(f"{name} is {value} seconds; give 0 or more.")
    if previous is not None and previous.kind != "rig":
        raise InputError("Only rigs can go before a rig: join other motions with a mix.")
    start = motion_from_rig(fps=pose.fps) if previous is None else previous
    steps = round(move * start.fps)
    parts = [eased(step / steps, easing) for step in range(steps)] + [1.0] * max(1, round(hold * start.fps))
    moved = _between(start, pose, torch.tensor(parts, dtype=torch.float64))
    joined = moved if previous is None else _joined(previous, moved)
    return replace(joined, neutral=_larger(start.neutral, pose.neutral), look=max(start.look, pose.look))


def _between(start: Motion, pose: Motion, part: Float[Tensor, "T"]) -> Motion:
    """Return the way from the last frame of ``start`` to ``pose``; the head turns about its neck all along."""
    weight = part[:, None]

    def lerp(first: Tensor, last: Tensor) -> Tensor:
        return torch.lerp(first.double().expand(len(part), -1), last.double().expand(len(part), -1), weight)

    ends = [motion.rotation[-1:].double().expand(len(part), 3, 3) for motion in (start, pose)]
    rotation = torch.where((weight == 1.0)[..., None], ends[1], slerp(*ends, part))
    neck = torch.tensor(NECK, dtype=torch.float64)
    joints = [motion.translation[-1].double() + motion.rotation[-1].double() @ neck for motion in (start, pose)]
    return replace(
        pose,
        beta=lerp(start.beta[-1], pose.beta[-1]).float(),
        gaze=lerp(start.gaze[-1], pose.gaze[-1]).float(),
        rotation=rotation.float(),
        translation=(lerp(*joints) - rotation @ neck).float(),
        fps=start.fps,
    )


def _joined(first: Motion, second: Motion) -> Motion:
    curves = ("beta", "gaze", "rotation", "translation")
    return replace(first, **{name: torch.cat((getattr(first, name), getattr(second, name))) for name in curves})


def _larger(first: Float[Tensor, "52"] | None, second: Float[Tensor, "52"] | None) -> Float[Tensor, "52"] | None:
    if first is None or second is None:
        return second if first is None else first
    return torch.maximum(first, second)
