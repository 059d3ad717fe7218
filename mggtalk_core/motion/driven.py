"""`DrivenPoints`: the point cloud in motion, one frame at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..geometry.points import HeadPoints
from ..head.camera import Camera
from ..record import Record
from .deform import Binding, deform
from .motion import Motion


@dataclass(frozen=True)
class DrivenPoints(Record):
    """`HeadPoints` and the retargeted `Motion` that drives them (paper D.2); frames are computed on demand."""

    points: HeadPoints
    binding: Binding
    motion: Motion
    """In the portrait's terms: ``beta`` is ``beta_d`` of eq. 9, rotation and translation are the head's in the crop."""

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.motion)

    def frame(self, index: int) -> Float[Tensor, "n 3"]:
        """Return the driven canonical positions ``[P_d; P_d^s; ...]`` of one frame."""
        return deform(self.points, self.binding, self.motion.beta[index], self.motion.gaze[index])

    def camera(self, index: int) -> Camera:
        """Return the camera of one frame: the head's pose lives here, never in the points."""
        return posed(self.points.fit.camera, self.motion, index)


def posed(camera: Camera, motion: Motion, index: int) -> Camera:
    """Return the camera with the head's pose of one frame for its world-to-camera."""
    return camera.posed(motion.rotation[index].to(torch.float32), motion.translation[index].to(torch.float32))
