"""How the torso-background layer follows the head."""

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
    before, after = (camera.project(axis)[:, :2].double().numpy() for camera in (source, frame))
    angles = [math.atan2(*(points[1] - points[0])[::-1]) for points in (before, after)]
    roll = math.remainder(angles[1] - angles[0], math.tau)
    shift = after[0] - before[0]
    length = float(np.hypot(*shift))
    return before[0], shift * (_LONGEST * math.tanh(length / _LONGEST) / max(length, 1e-9)), roll


class Torso:
    """Warps a portrait's torso-background layer smoothly: all the way at the neck, not at all at the crop's border."""

    def __init__(self, layer: Float[Tensor, "3 512 512"], labels: UInt8[Tensor, "512 512"], camera: Camera) -> None:
        """Take `Portrait.background` and `Portrait.labels`, and the camera of the source picture."""
        self._camera = camera.to("cpu")
        self._layer = layer.permute(1, 2, 0).contiguous().cpu().numpy()
        neck, _, _ = neck_motion(self._camera, self._camera)
        self._weight = _follow_weight(labels.cpu().numpy(), neck)

    def __call__(self, camera: Camera) -> Float[Tensor, "3 512 512"]:
        """Return the layer for the head pose of ``camera``."""
        import cv2

        neck, shift, roll = neck_motion(self._camera, camera.to("cpu"))
        height, width = self._weight.shape
        x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
        # Displacement of a rigid turn about the neck, taken at the target pixel: it varies slowly.
        turn = ROLL_SHARE * roll
        cosine, sine = math.cos(turn) - 1.0, math.sin(turn)
        dx, dy = x + np.float32(0.5 - neck[0]), y + np.float32(0.5 - neck[1])
        move_x = np.float32(shift[0]) + np.float32(cosine) * dx - np.float32(sine) * dy
        move_y = np.float32(shift[1]) + np.float32(sine) * dx + np.float32(cosine) * dy
        map_x, map_y = x - self._weight * move_x, y - self._weight * move_y
        warped = cv2.remap(self._layer, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return torch.from_numpy(np.ascontiguousarray(warped.transpose(2, 0, 1)))


def _follow_weight(labels: np.ndarray, neck: np.ndarray) -> np.ndarray:
    """Return how much of the neck's motion each pixel takes: 1 at the neck, 0 at the border and in the background."""
    import cv2

    height, width = labels.shape
    x, y = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5
    body = np.isin(labels, _BODY).astype(np.float32)
    around = np.exp(-0.5 * (((x - neck[0]) / 60.0) ** 2 + ((y[:, None] - neck[1]) / 60.0) ** 2))
    mask = np.maximum(cv2.GaussianBlur(body, (0, 0), _SOFTNESS), around)
    window = _to_border(x, width) * _to_border(y, height)[:, None]
    return (mask * window).astype(np.float32)


def _to_border(position: np.ndarray, size: int) -> np.ndarray:
    """Return a smooth step from 0 in the outermost pixel to 1 a quarter of the picture inside."""
    return smoothstep(np.minimum(position, size - position), 0.5, 0.5 + 0.25 * size)
