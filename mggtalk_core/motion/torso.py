"""Where neck, shoulders and what lies on them go when the head moves."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..head.camera import Camera
from ..portrait.parsing import Label
from ..smoothstep import smoothstep

NECK = (0.0, -1.5, -0.8)
"""Where the neck meets the skull's base in canonical space: what the torso is tied to."""
HELD = 9.0
"""Pixels of the neck's movement of which the torso takes half.

Nods and turns move the neck alone; it is people who lean over that take their shoulders along. A torso that took on
some of the head's roll met filmed frames no better.
"""
_SOFTNESS = 24.0
"""Width in pixels over which the torso's motion dies out into the background."""
_LONGEST = 64.0
"""The torso moves at most this many pixels: beyond, the layer would fold."""
_BORDER = 0.2
"""Part of the picture, from each border inwards, over which its motion sets in."""
_BODY = (int(Label.BODY), int(Label.CLOTHES))
"""What belongs to the torso in `Portrait.labels`; below the neck, hair does as well."""


def neck_in(camera: Camera) -> tuple[float, float]:
    """Return where a camera sees the neck (x, y), in pixels."""
    x, y, _ = camera.to("cpu").project(torch.tensor([NECK]))[0].tolist()
    return x, y


def torso_shift(source: Camera, frame: Camera) -> tuple[float, float]:
    """Return how far the torso moves (x, y) with the head of a frame, in pixels, where it follows all the way."""
    before, after = neck_in(source), neck_in(frame)
    across, down = after[0] - before[0], after[1] - before[1]
    length = max(math.hypot(across, down), 1e-9)
    kept = _LONGEST * math.tanh(length / _LONGEST)
    share = kept**3 / (kept**2 + HELD**2) / length
    return share * across, share * down


def follow_weight(labels: UInt8[Tensor, "512 512"], source: Camera) -> Float[np.ndarray, "512 512"]:
    """Return how much of that each pixel takes: 1 at the neck, 0 at the border and in the background."""
    import cv2

    neck, (height, width) = neck_in(source), labels.shape
    x, y = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32)[:, None] + 0.5
    kinds = labels.cpu().numpy()
    body = np.isin(kinds, _BODY) | ((kinds == int(Label.HAIR)) & (y > neck[1]))
    around = np.exp(-0.5 * (((x - neck[0]) / 60.0) ** 2 + ((y - neck[1]) / 60.0) ** 2))
    mask = np.maximum(cv2.GaussianBlur(body.astype(np.float32), (0, 0), _SOFTNESS), around)
    return (mask * _to_border(x, width) * _to_border(y, height)).astype(np.float32)


def _to_border(position: np.ndarray, size: int) -> np.ndarray:
    """Return a smooth step from 0 in the outermost pixel to 1 inside."""
    return smoothstep(np.minimum(position, size - position), 0.5, 0.5 + _BORDER * size)
