"""Where neck, shoulders and what lies on them go when the head moves."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..head.camera import Camera
from ..portrait.parsing import Label
from ..smoothstep import Values, smoothstep

NECK = (0.0, -1.5, -0.8)
"""Where the neck meets the skull's base in canonical space: what the torso is tied to."""
ROLL_SHARE = 0.3
"""Part of the head's roll that the shoulders take on."""
_SOFTNESS = 24.0
"""Width in pixels over which the torso's motion dies out into the background."""
_LONGEST = 64.0
"""The torso moves at most this many pixels: beyond, the layer would fold."""
_BODY = (int(Label.BODY), int(Label.CLOTHES))
"""What belongs to the torso in `Portrait.labels`."""


def neck_motion(source: Camera, frame: Camera) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the neck in the source picture (x, y), its displacement in pixels and the head's roll in radians."""
    axis = torch.tensor([NECK, (NECK[0], NECK[1] + 0.5, NECK[2])])
    before, after = (camera.project(axis)[:, :2].double().numpy() for camera in (source.to("cpu"), frame.to("cpu")))
    angles = [math.atan2(*(points[1] - points[0])[::-1]) for points in (before, after)]
    roll = math.remainder(angles[1] - angles[0], math.tau)
    shift = after[0] - before[0]
    length = float(np.hypot(*shift))
    return before[0], shift * (_LONGEST * math.tanh(length / _LONGEST) / max(length, 1e-9)), roll


def torso_shift(source: Camera, frame: Camera, x: Values, y: Values) -> tuple[Values, Values]:
    """Return how far the torso moves at (``x``, ``y``), all in pixels, where it follows all the way.

    A shift with the neck and a share of the head's roll about it.
    """
    neck, shift, roll = neck_motion(source, frame)
    turn = ROLL_SHARE * roll
    cosine, sine = math.cos(turn) - 1.0, math.sin(turn)
    across, down = x - float(neck[0]), y - float(neck[1])
    return float(shift[0]) + cosine * across - sine * down, float(shift[1]) + sine * across + cosine * down


def follow_weight(labels: UInt8[Tensor, "512 512"], source: Camera) -> Float[np.ndarray, "512 512"]:
    """Return how much of that each pixel takes: 1 at the neck, 0 at the border and in the background."""
    import cv2

    neck, _, _ = neck_motion(source, source)
    height, width = labels.shape
    x, y = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5
    body = np.isin(labels.cpu().numpy(), _BODY).astype(np.float32)
    around = np.exp(-0.5 * (((x - neck[0]) / 60.0) ** 2 + ((y[:, None] - neck[1]) / 60.0) ** 2))
    mask = np.maximum(cv2.GaussianBlur(body, (0, 0), _SOFTNESS), around)
    window = _to_border(x, width) * _to_border(y, height)[:, None]
    return (mask * window).astype(np.float32)


def _to_border(position: np.ndarray, size: int) -> np.ndarray:
    """Return a smooth step from 0 in the outermost pixel to 1 a quarter of the picture inside."""
    return smoothstep(np.minimum(position, size - position), 0.5, 0.5 + 0.25 * size)
