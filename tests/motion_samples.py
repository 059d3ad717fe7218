"""Motions and sounds that the tests of `mggtalk_core.motion` share."""

import math

import numpy as np
import torch

from mggtalk_core.head.camera import Camera
from mggtalk_core.head.head_fit import HeadFit
from mggtalk_core.media.sound import Sound
from mggtalk_core.motion.motion import Motion, Rest
from mggtalk_core.motion.rotations import FACING, camera_rotation


def wandering(frames: int, seed: int = 0, fps: float = 25.0, *, kind: str = "video") -> Motion:
    """Return a driver whose every value wanders at random."""
    rng = np.random.default_rng(seed)
    angles = torch.from_numpy(rng.normal(0.0, 12.0, (3, frames)))
    return Motion(
        beta=torch.from_numpy(rng.uniform(0.0, 0.8, (frames, 52))).float(),
        gaze=torch.from_numpy(rng.normal(0.0, 0.15, (frames, 4))).float(),
        rotation=camera_rotation(*angles).float(),
        translation=torch.from_numpy(rng.normal((0.0, 0.0, 8.0), 0.3, (frames, 3))).float(),
        fps=fps,
        rest=rest_state(seed + 1),
        eye_distance=0.6,
        kind=kind,
    )


def rest_state(seed: int) -> Rest:
    """Return some neutral face."""
    rng = np.random.default_rng(seed)
    return Rest(
        torch.from_numpy(rng.uniform(0.0, 0.3, 52)).float(),
        torch.from_numpy(rng.normal(0.0, 0.05, 4)).float(),
        camera_rotation(*torch.from_numpy(rng.normal(0.0, 5.0, 3))).float(),
        torch.tensor([0.0, 0.1, 8.0]),
    )


def constant(frames: int) -> Motion:
    """Return a driver that does not move, with values that float32 cannot halve evenly."""
    one = wandering(1, 7)
    return Motion(
        beta=one.beta.expand(frames, 52).clone(),
        gaze=one.gaze.expand(frames, 4).clone(),
        rotation=one.rotation.expand(frames, 3, 3).clone(),
        translation=one.translation.expand(frames, 3).clone(),
        fps=25.0,
        rest=one.rest,
        eye_distance=0.6,
        kind="video",
    )


def source_fit(seed: int = 3, modes: int = 4) -> HeadFit:
    """Return the fit of some portrait: smiling, mouth a little open, head turned."""
    rng = np.random.default_rng(seed)
    pose = camera_rotation(*torch.tensor([14.0, -6.0, 4.0], dtype=torch.float64)).float()
    return HeadFit(
        identity=torch.zeros(modes),
        beta_s=torch.from_numpy(rng.uniform(0.0, 0.4, 52)).float(),
        gaze=torch.tensor([0.1, -0.05, 0.12, -0.05]),
        camera=Camera.for_crop().posed(pose, torch.tensor([0.1, -0.2, 7.3])),
        offsets=torch.zeros(1, 3),
        residual=0.0,
    )


class EyesOnly:
    """Stands in for the head model where only the distance between the eyes is asked for."""

    def eye_centers(self, identity: torch.Tensor) -> torch.Tensor:
        """Return eyes 0.66 units apart."""
        return torch.tensor([[0.33, 0.0, 0.0], [-0.33, 0.0, 0.0]])


def syllables(seconds: float, rate: int = 16000, *, on: float = 0.25, off: float = 0.25, channels: int = 1) -> Sound:
    """Return a buzz with two formants that comes and goes like syllables, starting with silence."""
    time = np.arange(round(seconds * rate)) / rate
    pulse = np.sign(np.sin(2.0 * math.pi * 120.0 * time))
    voice = pulse * (np.sin(2 * math.pi * 800.0 * time) + 0.6 * np.sin(2 * math.pi * 1200.0 * time))
    phase = time % (on + off)
    gate = np.clip(np.minimum(phase - off, on + off - phase) / 0.02, 0.0, 1.0)
    return Sound(torch.from_numpy(0.2 * voice * gate).float().expand(channels, -1).clone(), rate)


def facing() -> torch.Tensor:
    """Return the rotation of a head that looks into the camera, float32."""
    return FACING.float()
