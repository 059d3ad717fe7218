"""Cameras that move from key to key."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..head.camera import Camera
from .cameras import HEAD_CENTER

EASINGS: dict[str, Callable[[float], float]] = {
    "linear": lambda t: t,
    "ease-in": lambda t: t * t,
    "ease-out": lambda t: t * (2.0 - t),
    "ease-in-out": lambda t: t * t * (3.0 - 2.0 * t),
}
"""How a move gathers and loses speed: share of the time to share of the way, 0 to 0 and 1 to 1."""


@dataclass(frozen=True)
class CameraKey:
    """A camera at a time."""

    time: float
    """Seconds from the start of the clip."""
    camera: Camera
    easing: str = "ease-in-out"
    """Of the move from here to the next key: one of `EASINGS`."""


class CameraPath:
    """A camera that moves through keys around the head.

    Between two keys the rotation takes the shorter way at an even pace, the head's centre moves in a straight line of
    the camera's space (so it neither leaves the picture nor jumps), and the focal length changes by equal ratios.
    Before the first key and after the last the camera stands still.
    """

    def __init__(self, keys: Sequence[CameraKey], center: tuple[float, float, float] = HEAD_CENTER) -> None:
        """Sort the keys by time.

        Raises:
            InputError: no key, two at the same time, an unknown easing, a time that is not finite, or cameras of
                different picture sizes.
        """
        _check(keys)
        self._keys = sorted(keys, key=lambda key: key.time)
        self._times = [key.time for key in self._keys]
        self._center = torch.tensor(center, dtype=torch.float64)

    def __call__(self, time: float) -> Camera:
        """Return the camera at ``time`` in seconds."""
        k = bisect_right(self._times, time)
        if k == 0 or k == len(self._keys):
            return self._keys[min(k, len(self._keys) - 1)].camera
        a, b = self._keys[k - 1], self._keys[k]
        share = EASINGS[a.easing]((time - a.time) / (b.time - a.time))
        return _between(a.camera, b.camera, share, self._center) if share else a.camera

    def frames(self, count: int, fps: float) -> list[Camera]:
        """Return the cameras of ``count`` frames."""
        return [self(index / fps) for index in range(count)]


def _check(keys: Sequence[CameraKey]) -> None:
    if not keys:
        raise InputError("A camera path needs at least one key.")
    for key in keys:
        if key.easing not in EASINGS:
            raise InputError(f'Unknown easing "{key.easing}": choose one of {", ".join(EASINGS)}.')
        if not math.isfinite(key.time):
            raise InputError(f"A camera key is at time {key.time}: give seconds.")
    if len({key.time for key in keys}) < len(keys):
        raise InputError("Two camera keys are at the same time: move one of them.")
    if len({(key.camera.width, key.camera.height) for key in keys}) > 1:
        raise InputError("The cameras of a path must have the same picture size: resize them first.")


def _between(a: Camera, b: Camera, share: float, center: Float[Tensor, "3"]) -> Camera:
    start, end = a.rotation.double().cpu(), b.rotation.double().cpu()
    rotation = _rotation(share * _rotation_vector(end @ start.T)) @ start
    seen = [rotation_ @ center + camera.translation.double().cpu() for rotation_, camera in ((start, a), (end, b))]
    translation = torch.lerp(seen[0], seen[1], share) - rotation @ center
    camera = replace(a, focal=a.focal * (b.focal / a.focal) ** share)
    return camera.posed(rotation.to(a.rotation), translation.to(a.translation))


def _rotation_vector(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "3"]:
    """Return axis times angle, the angle at most half a turn."""
    # The quaternion by the largest of its squared components: exact for every angle, half a turn included.
    r = rotation
    outer = torch.empty(4, 4, dtype=r.dtype)
    outer[0, 0] = 1 + r[0, 0] + r[1, 1] + r[2, 2]
    outer[0, 1:] = outer[1:, 0] = torch.stack((r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]))
    outer[1:, 1:] = r + r.T + (1 - r.trace()) * torch.eye(3, dtype=r.dtype)
    quat = outer[outer.diagonal().argmax()]
    quat = quat / quat.norm() * (-1.0 if quat[0] < 0 else 1.0)
    sine = quat[1:].norm()
    return quat[1:] * (2.0 * torch.atan2(sine, quat[0]) / sine if sine > 0 else 2.0)


def _rotation(vector: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    x, y, z = vector.tolist()
    return torch.linalg.matrix_exp(vector.new_tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]))
