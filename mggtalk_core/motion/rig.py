"""Motion from sliders: 52 blendshapes, head pose and gaze, constant or key-framed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES
from .motion import Motion, Rest
from .rotations import FACING, camera_rotation
from .timing import check_fps

EASINGS = ("linear", "smooth", "in", "out", "step")
"""How a value moves from one key to the next: ``in`` starts slowly, ``out`` ends slowly, ``smooth`` both."""

EYE_DISTANCE = 0.62
"""Distance between the eyeballs of an average adult, in units of 10 cm."""

REST_DEPTH = 8.0
"""Distance of the resting head from the camera, in units; only changes of it matter."""

NECK = (0.0, -1.1, -0.8)
"""Joint that the head turns about, in canonical space: turned about its eyes, it would tear off the shoulders."""

LID_ANGLE = 25.0
"""Degrees of eyeball pitch at which ``eyeLookUp`` or ``eyeLookDown`` is full."""


EXPRESSION = torch.tensor([not name.startswith(("eyeBlink", "eyeLook")) for name in BLENDSHAPES]).float()
"""1 for what makes an expression, 0 for how open the lids are and where the eyes look."""


@dataclass(frozen=True)
class Key:
    """A key frame: the value a slider has at one frame, and how it leaves it."""

    frame: int
    value: float
    easing: str = "smooth"


Curve = float | Sequence[float] | Sequence[Key] | Tensor
"""A slider: one number, a number per frame, or keys."""


def motion_from_rig(
    sliders: Mapping[str, Curve] | None = None,
    *,
    yaw: Curve = 0.0,
    pitch: Curve = 0.0,
    roll: Curve = 0.0,
    translation: tuple[Curve, Curve, Curve] = (0.0, 0.0, 0.0),
    gaze_left: tuple[Curve, Curve] = (0.0, 0.0),
    gaze_right: tuple[Curve, Curve] = (0.0, 0.0),
    neutralise: float = 0.0,
    look_at_camera: float = 0.0,
    frames: int | None = None,
    fps: float = 25.0,
) -> Motion:
    """Return the motion that sliders describe; zero everywhere is the portrait as it is.

    Args:
        sliders: blendshape name (any case) to its curve; names that are missing stay 0.
        yaw: head turned about the neck to the subject's left, degrees.
        pitch: chin lifted, degrees.
        roll: crown leaning to the subject's left, degrees.
        translation: head moved to the picture's right, down, and away from the camera, units of 10 cm.
        gaze_left: yaw and pitch of the left eyeball in degrees, + to the subject's left and up; the lids follow.
        gaze_right: the same for the right eyeball.
        neutralise: share of the portrait's own expression that is taken away, 0..1; lids and gaze stay.
        look_at_camera: how much the eyes stay on the camera while the head turns, 0..1.
        frames: length; by default that of the longest curve.
        fps: frames per second.

    Raises:
        InputError: an unknown name or easing, values that are not finite, or curves of different lengths.
    """
    named = {_canonical(name): curve for name, curve in (sliders or {}).items()}
    pose = {"yaw": yaw, "pitch": pitch, "roll": roll}
    places = dict(zip(("translation x", "translation y", "translation z"), translation, strict=True))
    eyes = dict(zip(("left yaw", "left pitch", "right yaw", "right pitch"), (*gaze_left, *gaze_right), strict=True))
    count = _length({**named, **pose, **places, **eyes}, frames)

    beta = torch.zeros(count, len(BLENDSHAPES))
    for name, curve in named.items():
        beta[:, BLENDSHAPE_INDEX[name]] = sample_curve(curve, count, name).float()
    degrees = torch.stack([sample_curve(curve, count, name) for name, curve in eyes.items()], dim=-1)
    _lids_follow(beta, degrees)
    angles = [sample_curve(curve, count, name) for name, curve in pose.items()]
    moved = torch.stack([sample_curve(curve, count, name) for name, curve in places.items()], dim=-1)
    rotation, swing = pose_about_neck(torch.stack(angles, dim=-1))
    rest = neutral_state()
    return Motion(
        beta=beta,
        gaze=torch.deg2rad(degrees).float(),
        rotation=rotation.float(),
        translation=(rest.translation + swing + moved).float(),
        fps=check_fps(fps),
        rest=rest,
        eye_distance=EYE_DISTANCE,
        kind="rig",
        start=rest,
        neutral=neutralise * EXPRESSION if neutralise else None,
        look=look_at_camera,
    )


def neutral_state() -> Rest:
    """Return a face at rest that looks straight into the camera."""
    place = torch.tensor([0.0, 0.0, REST_DEPTH])
    return Rest(torch.zeros(len(BLENDSHAPES)), torch.zeros(4), FACING.float(), place)


def pose_about_neck(degrees: Float[Tensor, "T 3"]) -> tuple[Float[Tensor, "T 3 3"], Float[Tensor, "T 3"]]:
    """Return rotation (canonical to camera) and translation of a head that turns about `NECK`, before a level camera.

    ``degrees``: yaw, pitch, roll. The translation is what the turn adds to that of the resting head.
    """
    rotation = camera_rotation(*degrees.unbind(-1))
    neck = torch.tensor(NECK, dtype=rotation.dtype)
    return rotation, FACING.to(rotation) @ neck - rotation @ neck


def sample_curve(curve: Curve, frames: int, name: str = "value") -> Float[Tensor, "T"]:
    """Return a slider's value at every frame, float64.

    Before its first key and after its last one a key-framed slider is held.

    Raises:
        InputError: a curve of another length, an unknown easing or a value that is not finite.
    """
    if _is_keyed(curve):
        values = _ease(curve, frames)
    else:
        values = torch.as_tensor(curve, dtype=torch.float64)
        values = values.expand(frames) if values.dim() == 0 else values
    if values.shape != (frames,):
        raise InputError(f"The curve of {name} has {values.numel()} values for {frames} frames; give one per frame.")
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"The curve of {name} holds a value that is not a finite number.")
    return values


def _canonical(name: str) -> str:
    known = {shape.lower(): shape for shape in BLENDSHAPES}
    if name.lower() not in known:
        raise InputError(f"Unknown blendshape {name!r}; the 52 names run from {BLENDSHAPES[0]} to {BLENDSHAPES[-1]}.")
    return known[name.lower()]


def _length(curves: Mapping[str, Curve], frames: int | None) -> int:
    """Return the number of frames asked for, or that the longest curve has."""
    if frames is None:
        frames = max((_own_length(curve) for curve in curves.values()), default=1)
    if frames < 1:
        raise InputError(f"A motion of {frames} frames is not possible; give at least 1.")
    return frames


def _own_length(curve: Curve) -> int:
    if _is_keyed(curve):
        return max(key.frame for key in curve) + 1
    return torch.as_tensor(curve).numel()


def _is_keyed(curve: Curve) -> bool:
    return isinstance(curve, Sequence) and len(curve) > 0 and isinstance(curve[0], Key)


def _ease(keys: Sequence[Key], frames: int) -> Float[Tensor, "T"]:
    keys = sorted(keys, key=lambda key: key.frame)
    values = torch.full((frames,), float(keys[0].value), dtype=torch.float64)
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        span = range(max(key.frame, 0), frames if following is None else min(following.frame, frames))
        for frame in span:
            values[frame] = key.value
            if following is not None:
                part = eased((frame - key.frame) / (following.frame - key.frame), key.easing)
                values[frame] += part * (following.value - key.value)
    return values


def eased(part: float, easing: str) -> float:
    """Return how much of a move is done after ``part`` (0..1) of its time.

    Raises:
        InputError: an easing that is not in `EASINGS`.
    """
    curves = {
        "linear": part,
        "smooth": part * part * (3.0 - 2.0 * part),
        "in": 1.0 - math.cos(0.5 * math.pi * part),
        "out": math.sin(0.5 * math.pi * part),
        "step": 0.0,
    }
    if easing not in curves:
        raise InputError(f"Unknown easing {easing!r}; choose one of {', '.join(EASINGS)}.")
    return curves[easing]


def _lids_follow(beta: Float[Tensor, "T 52"], degrees: Float[Tensor, "T 4"]) -> None:
    """Add the lid movement that goes with the eyeballs' pitch: an eye that looks down is covered by its lid."""
    for side, column in (("Left", 1), ("Right", 3)):
        amount = (degrees[:, column] / LID_ANGLE).clamp(-1.0, 1.0).float()
        beta[:, BLENDSHAPE_INDEX[f"eyeLookUp{side}"]] += amount.clamp_min(0.0)
        beta[:, BLENDSHAPE_INDEX[f"eyeLookDown{side}"]] += (-amount).clamp_min(0.0)
