"""A head in telling poses: what a number does not show, a look does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians.predict import with_motion
from ..motion.motion import Motion
from ..motion.rotations import axis_rotation
from ..motion.timing import take
from ..pipeline import Head, Settings, frames
from ..portrait.blendshapes import BLENDSHAPE_INDEX


@dataclass(frozen=True)
class Pose:
    """One picture of the gallery."""

    caption: str
    shapes: dict[str, float] = field(default_factory=dict)
    """Blendshapes that differ from the source's, in absolute values."""
    yaw: float = 0.0
    """Turn to the subject's left, degrees."""


GALLERY: tuple[Pose, ...] = (
    Pose("at rest"),
    Pose("smile", {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4}),
    Pose("mouth wide open", {"jawOpen": 0.8}),
    Pose("eyes closed", {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "eyeSquintLeft": 0.0, "eyeSquintRight": 0.0}),
    Pose("-30 degrees", yaw=-30.0),
    Pose("+30 degrees", yaw=30.0),
)


def gallery_motion(head: Head, poses: tuple[Pose, ...] = GALLERY) -> Motion:
    """Return a motion with one frame per pose, in the portrait's terms."""
    still = head.still.motion
    motion = take(still, torch.zeros(len(poses), dtype=torch.long))
    beta, rotation = motion.beta.clone(), motion.rotation.clone()
    for index, pose in enumerate(poses):
        for name, value in pose.shapes.items():
            beta[index, BLENDSHAPE_INDEX[name]] = value
        turn = torch.deg2rad(torch.tensor(pose.yaw, dtype=rotation.dtype))
        rotation[index] = rotation[index] @ axis_rotation(1, turn)
    return replace(motion, beta=beta, rotation=rotation)


def gallery(
    head: Head, settings: Settings | None = None, poses: tuple[Pose, ...] = GALLERY
) -> list[Float[Tensor, "3 512 512"]]:
    """Return the finished crop in every pose of the gallery."""
    sequence = with_motion(head.still, gallery_motion(head, poses))
    return [frame.image for frame in frames(head, sequence, settings)]
