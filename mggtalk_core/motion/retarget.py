"""From the driver's terms to the portrait's: references, strength, and what a face can carry (paper D.2)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..head.head_fit import HeadFit
from ..head.model import HeadModel
from ..portrait.blendshapes import BLENDSHAPE_INDEX
from .channels import BLINKS, MOUTH_OPENING, indices
from .motion import Motion, Rest
from .rotations import FACING, exp_rotation, head_rotation, log_rotation

REFERENCES = ("first", "neutral", "absolute")
"""What the driving signal is measured from."""

HEAD_CENTER = (0.0, -0.2, -0.6)
"""Centre of the skull in canonical space: what a fixed view turns about."""

OVERSHOOT = 0.3
"""How far a coefficient may leave 0..1: beyond it the linear shapes no longer look like a face."""

GAZE_RANGE = (0.5, 0.2)
"""Radians up to which the eyeballs turn freely, and how far beyond it they may still bend."""

LID_CLOSING: dict[str, float] = {
    "eyeLookDown": 0.50, "eyeSquint": 0.22, "cheekSquint": 0.27, "noseSneer": 0.12, "mouthSmile": 0.06,
    "eyeWide": -0.30, "eyeLookUp": -0.18,
}  # fmt: skip
"""Share of the lids' opening that each shape takes in the head model, where ``eyeBlink`` takes all of it."""

LIP_OPENING: dict[str, float] = {
    "jawOpen": 0.82, "mouthFunnel": 0.33, "mouthUpperUpLeft": 0.09, "mouthUpperUpRight": 0.09,
    "mouthLowerDownLeft": 0.09, "mouthLowerDownRight": 0.09,
}  # fmt: skip
"""How far each shape parts the lips in the head model, in units of what ``mouthClose`` closes."""


def retarget(
    motion: Motion,
    fit: HeadFit,
    model: HeadModel,
    *,
    reference: str = "first",
    strength: float = 1.0,
    yaw: float = 0.0,
    pitch: float = 0.0,
) -> Motion:
    """Return the motion in the portrait's terms: ``beta_d``, gaze and the head's pose in the crop.

    ``first``: ``beta_d(t) = beta_s + beta(t) - beta(0)``, ``R(t) = R_drv(t) R_drv(0)^T R_s`` and the translation
    likewise, scaled by the ratio of the eye distances, so that the first frame is the source exactly. ``neutral``
    measures from the driver's rest instead. ``absolute`` takes the driver's expression, gaze and head rotation as they
    are; its place in its own picture means nothing here, so the translation is still measured from its rest.

    Args:
        motion: in the driver's own terms.
        fit: the head that was fitted to the portrait.
        model: the head model, for the distance between the portrait's eyes.
        reference: ``first``, ``neutral`` or ``absolute``.
        strength: 1 as driven, 0 still, above 1 exaggerated.
        yaw: degrees by which the view is turned in addition; + shows the head turned to the subject's left.
        pitch: degrees likewise; + shows the chin lifted.

    Raises:
        InputError: an unknown reference or a strength or angle that is not finite.
    """
    _check(reference, strength, yaw, pitch)
    start = _reference_state(motion, reference)
    beta = _drive_expression(motion, fit.beta_s, start, strength, absolute=reference == "absolute")
    gaze_from = fit.gaze if reference == "absolute" else start.gaze
    rotation = _drive_rotation(motion, fit.camera.rotation, start, strength, absolute=reference == "absolute")
    scale = _eye_distance(fit, model) / motion.eye_distance
    moved = strength * scale * (motion.translation.double() - start.translation.double())
    translation = fit.camera.translation.double() + moved
    rotation, translation = _turn_view(rotation, translation, yaw, pitch)
    source_gaze = _towards_camera(fit, model, motion.look, rotation, translation)
    return replace(
        motion,
        beta=beta,
        gaze=limit_gaze(source_gaze + strength * (motion.gaze - gaze_from), fit.gaze),
        rotation=rotation.to(torch.float32),
        translation=translation.to(torch.float32),
        rest=_source_state(fit),
        start=None,
        eye_distance=_eye_distance(fit, model),
    )


def _check(reference: str, strength: float, yaw: float, pitch: float) -> None:
    if reference not in REFERENCES:
        raise InputError(f"Unknown reference {reference!r}; choose one of {', '.join(REFERENCES)}.")
    for name, value in (("strength", strength), ("yaw", yaw), ("pitch", pitch)):
        if not math.isfinite(value):
            raise InputError(f"The {name} {value} is not a number; give a finite one.")


def _reference_state(motion: Motion, reference: str) -> Rest:
    if reference != "first":
        return motion.rest
    if motion.start is not None:
        return motion.start
    return Rest(motion.beta[0], motion.gaze[0], motion.rotation[0], motion.translation[0])


def _source_state(fit: HeadFit) -> Rest:
    return Rest(fit.beta_s, fit.gaze, fit.camera.rotation, fit.camera.translation)


def _towards_camera(
    fit: HeadFit, model: HeadModel, share: float, rotation: Float[Tensor, "T 3 3"], translation: Float[Tensor, "T 3"]
) -> Float[Tensor, "T 4"]:
    """Return the portrait's own gaze, moved by ``share`` of the way to the camera from where each eye then is."""
    if share == 0.0:
        return fit.gaze.expand(len(rotation), 4)
    camera = -torch.einsum("tji,tj->ti", rotation, translation)
    rays = camera[:, None] - model.eye_centers(fit.identity).to(camera)
    yaw = torch.atan2(rays[..., 0], rays[..., 2])
    pitch = torch.atan2(rays[..., 1], rays[..., [0, 2]].norm(dim=-1))
    target = torch.stack((yaw, pitch), dim=-1).flatten(1).to(fit.gaze)
    return fit.gaze + share * (target - fit.gaze)


def _eye_distance(fit: HeadFit, model: HeadModel) -> float:
    left, right = model.eye_centers(fit.identity)
    return float((left - right).norm())


def _drive_expression(
    motion: Motion, beta_s: Float[Tensor, "52"], start: Rest, strength: float, *, absolute: bool
) -> Float[Tensor, "T 52"]:
    """Return ``beta_d``: every term vanishes exactly where the driver is at its reference or the strength is 0."""
    if absolute:
        change = motion.beta - beta_s
    else:
        change = motion.beta - start.beta
        change[:, BLINKS] = _close_lids(change[:, BLINKS], beta_s[list(BLINKS)], start.beta[list(BLINKS)])
        # Speech starts from closed lips: the portrait's own opening fades, or it would add up with every vowel.
        own = torch.zeros_like(beta_s)
        own[indices(MOUTH_OPENING)] = motion.speech
        change = change - (own if motion.neutral is None else torch.maximum(own, motion.neutral)) * beta_s
    return limit_expression(beta_s + strength * change, beta_s)


def _close_lids(
    change: Float[Tensor, "T 2"], source: Float[Tensor, "2"], start: Float[Tensor, "2"]
) -> Float[Tensor, "T 2"]:
    """Scale closing so that a lid which closes in the driver closes in the portrait, however open either began."""
    gain = (1.0 - source).clamp_min(0.0) / (1.0 - start).clamp_min(0.2)
    return torch.where(change > 0.0, change * gain, change)


def limit_expression(beta: Float[Tensor, "T 52"], beta_s: Float[Tensor, "52"]) -> Float[Tensor, "T 52"]:
    """Keep coefficients to what the head model can carry, never moving a frame that equals the source.

    Everything bends softly into -0.3..1.3 (0..1 is untouched). Lids never cross: a blink closes what other shapes,
    like ``eyeLookDown``, have left open. Lips never cross: ``jawOpen`` ends at 0 and ``mouthClose`` where it has closed
    what other shapes have opened. Where the source itself lies beyond a limit, the limit is the source.
    """
    limited = _bend(beta, beta_s.clamp_max(0.0), beta_s.clamp_min(1.0), OVERSHOOT)
    for side, lid in zip(("Left", "Right"), BLINKS, strict=True):
        _cap(
            limited,
            beta_s,
            lid,
            1.0 - _weighted(limited, LID_CLOSING, side),
            1.0 - _weighted(beta_s, LID_CLOSING, side),
        )
    jaw, close = BLENDSHAPE_INDEX["jawOpen"], BLENDSHAPE_INDEX["mouthClose"]
    limited[:, jaw] = limited[:, jaw].clamp_min(beta_s[jaw].clamp_max(0.0))
    _cap(limited, beta_s, close, _weighted(limited, LIP_OPENING), _weighted(beta_s, LIP_OPENING))
    return limited


def _cap(
    beta: Float[Tensor, "T 52"], beta_s: Float[Tensor, "52"], column: int, limit: Float[Tensor, "T"], limit_s: Tensor
) -> None:
    """Bound one coefficient in place; a source beyond its own limit ``limit_s`` keeps its lead, without a rounding."""
    beta[:, column] = torch.minimum(beta[:, column], torch.maximum(limit, beta_s[column] + (limit - limit_s)))


def _weighted(beta: Float[Tensor, "*T 52"], table: dict[str, float], side: str = "") -> Float[Tensor, "*T"]:
    """Return the weighted sum of a table's coefficients, term by term: the same row always gives the same bits."""
    total = torch.zeros_like(beta[..., 0])
    for name, weight in table.items():
        total = total + weight * beta[..., BLENDSHAPE_INDEX[name + side]]
    return total


def limit_gaze(gaze: Float[Tensor, "T 4"], source: Float[Tensor, "4"]) -> Float[Tensor, "T 4"]:
    """Bend eyeball angles (radians) beyond `GAZE_RANGE` softly back; a source beyond it stays as it is."""
    free, more = GAZE_RANGE
    return _bend(gaze, source.clamp_max(-free), source.clamp_min(free), more)


def _bend(values: Tensor, low: Tensor, high: Tensor, room: float) -> Tensor:
    """Return values untouched between ``low`` and ``high``, approaching ``room`` beyond either with a smooth knee."""
    above = high + room * torch.tanh((values - high) / room)
    below = low - room * torch.tanh((low - values) / room)
    return torch.where(values > high, above, torch.where(values < low, below, values))


def _drive_rotation(
    motion: Motion, source: Float[Tensor, "3 3"], start: Rest, strength: float, *, absolute: bool
) -> Float[Tensor, "T 3 3"]:
    base = source.double()
    origin = base if absolute else start.rotation.double()
    turn = log_rotation(motion.rotation.double() @ origin.T)
    # A matrix stored in float32 times its own transpose misses the identity by 1e-7: equal poses mean no turn at all.
    same = (motion.rotation == (source if absolute else start.rotation)).all(-1).all(-1)
    turn = torch.where(same[:, None], torch.zeros_like(turn), turn)
    return exp_rotation(strength * turn) @ base


def _turn_view(
    rotation: Float[Tensor, "T 3 3"], translation: Float[Tensor, "T 3"], yaw: float, pitch: float
) -> tuple[Float[Tensor, "T 3 3"], Float[Tensor, "T 3"]]:
    """Turn the head in camera axes about `HEAD_CENTER`, which stays where it is."""
    if yaw == 0.0 and pitch == 0.0:
        return rotation, translation
    angles = torch.tensor([yaw, pitch, 0.0], dtype=torch.float64)
    view = FACING @ head_rotation(*angles) @ FACING.T
    turned = view @ rotation
    center = torch.tensor(HEAD_CENTER, dtype=torch.float64)
    return turned, translation + (rotation - turned) @ center
