"""Cameras that move around the head."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..head.camera import Camera

HEAD_CENTER = (0.0, -0.2, -0.8)
"""Middle of the head in canonical space, between the ears."""


def orbit(camera: Camera, yaw: float, pitch: float, center: tuple[float, float, float] = HEAD_CENTER) -> Camera:
    """Return ``camera`` moved around the head: the head's centre stays at its place in the picture and its distance.

    ``yaw`` moves the camera to the subject's left, ``pitch`` upwards, both in degrees.
    """
    rotation, translation = camera.rotation, camera.translation
    turned = rotation @ _turn(yaw, pitch).to(rotation).T
    pivot = torch.tensor(center).to(rotation)
    return camera.posed(turned, translation + (rotation - turned) @ pivot)


def _turn(yaw: float, pitch: float) -> Float[Tensor, "3 3"]:
    """Return the rotation of canonical space that carries a camera in front to the given yaw and pitch."""
    a, b = math.radians(yaw), math.radians(pitch)
    about_y = torch.tensor([[math.cos(a), 0.0, math.sin(a)], [0.0, 1.0, 0.0], [-math.sin(a), 0.0, math.cos(a)]])
    about_x = torch.tensor([[1.0, 0.0, 0.0], [0.0, math.cos(b), math.sin(b)], [0.0, -math.sin(b), math.cos(b)]])
    return about_y @ about_x
