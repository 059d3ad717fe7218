"""ComfyUI's ``camera_info`` as a camera of the core."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..mggtalk_core.errors import InputError
from ..mggtalk_core.head.camera import Camera
from ..mggtalk_core.render.reference import rotations

FRONT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
"""Rotation of a camera that looks at the face: from y up and z to the viewer to y down and z forward."""
FOV = 35.0
"""Vertical angle of view in degrees where none is given, that of ComfyUI's own nodes."""


def camera_of(info: Mapping[str, Any], size: int) -> tuple[Camera, tuple[float, float, float]]:
    """Return the camera of square pictures, and the point that it looks at.

    ``info`` is right-handed, y up; the camera looks down its own -z.

    Raises:
        InputError: an orthographic camera, or one that stands where it looks.
    """
    if str(info.get("cameraType", "")).startswith("ortho"):
        raise InputError("The camera is orthographic: choose perspective for Splat Render.")
    position, target = _vector(info.get("position")), _vector(info.get("target"))
    turned = info.get("quaternion")
    if turned:
        axes = rotations(torch.tensor([[float(turned[key]) for key in "wxyz"]]))[0]
    else:
        axes = _looking(position, target)
    rotation = FRONT @ axes.T
    fov, zoom = float(info.get("fov") or FOV), float(info.get("zoom") or 1.0)
    focal = 0.5 * size / math.tan(math.radians(fov) / 2.0) * zoom
    camera = Camera(torch.eye(4), focal, size, size).posed(rotation, -rotation @ position)
    return camera, tuple(target.tolist())


def _vector(values: Mapping[str, Any] | None) -> Float[Tensor, "3"]:
    return torch.tensor([float((values or {}).get(key, 0.0)) for key in "xyz"])


def _looking(position: Float[Tensor, "3"], target: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Return the axes, as columns, of a camera that looks at ``target`` and stands upright."""
    away = position - target
    if float(away.norm()) < 1e-6:
        raise InputError("The camera stands where it looks: move its position or its target.")
    back = away / away.norm()
    up = torch.tensor([0.0, 1.0, 0.0] if abs(float(back[1])) < 0.999 else [0.0, 0.0, 1.0])
    right = torch.linalg.cross(up, back)
    right = right / right.norm()
    return torch.stack((right, torch.linalg.cross(back, right), back), dim=1)
