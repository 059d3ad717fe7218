"""Gaussians of a driven head, analytic form (paper 3.2: eq. 4 visible, eq. 5 mirrored, eq. 6 densified)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..head.camera import Camera
from ..motion.driven import DrivenPoints, posed
from ..motion.motion import Motion
from ..parallel import one_thread
from ..portrait.portrait import Portrait
from .avatar import Avatar, build_avatar
from .calibrate import RenderFunction, calibrate
from .frame import frame_gaussians
from .gaussians import Gaussians


@dataclass(frozen=True)
class AnalyticSequence:
    """A `GaussianSequence` of the analytic form."""

    avatar: Avatar
    motion: Motion

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.motion.fps

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.motion)

    def to(self, device: torch.device | str) -> AnalyticSequence:
        """Return the same sequence on ``device``, where its frames are then computed; the sound stays where it is."""
        return AnalyticSequence(self.avatar.to(device), replace(self.motion.to(device), sound=self.motion.sound))

    def frame(self, index: int, view: Camera | None = None) -> Gaussians:
        """Return the canonical Gaussians of one frame, as ``view`` will see them; for every side when None."""
        beta, gaze, pose = self.motion.beta[index], self.motion.gaze[index], self.camera(index)
        made = frame_gaussians(self.avatar, beta, gaze, view or pose, every_side=view is None)
        return self.avatar.neck.twisted(made, pose)

    def camera(self, index: int) -> Camera:
        """Return the camera of one frame; it carries the head's pose."""
        return posed(self.avatar.points.fit.camera, self.motion, index)


@one_thread()
def predict_gaussians(
    portrait: Portrait, driven: DrivenPoints, render: RenderFunction | None = None
) -> AnalyticSequence:
    """Turn driven points into Gaussians, frame by frame on demand.

    Args:
        portrait: Gives the colours.
        driven: Points, their binding and the retargeted motion.
        render: When given, colours and opacities are calibrated to meet the picture at the source pose.
    """
    avatar = build_avatar(portrait, driven.points, driven.binding)
    if render is not None:
        avatar = calibrate(avatar, portrait, render)
    return AnalyticSequence(avatar, driven.motion)


def with_motion(sequence: AnalyticSequence, motion: Motion) -> AnalyticSequence:
    """Return the same avatar driven by another motion."""
    return replace(sequence, motion=motion)
