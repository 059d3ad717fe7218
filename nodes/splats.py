"""Our Gaussians as ComfyUI's SPLAT, and any SPLAT as Gaussians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..mggtalk_core.errors import InputError
from ..mggtalk_core.gaussians.files import to_image_axes
from ..mggtalk_core.gaussians.gaussians import Gaussians
from ..mggtalk_core.gaussians.ply import from_image_axes
from ..mggtalk_core.gaussians.predict import AnalyticSequence
from ..mggtalk_core.gaussians.turn import moved
from ..mggtalk_core.head.camera import Camera
from ..mggtalk_core.progress import OnStep
from .camera_info import FRONT

FILLED = 0.9
"""Share of the picture that a splat from elsewhere fills."""
COUNTED = 0.99
"""Share of its Gaussians that must be in the picture: a few strays may lie far away."""


@dataclass
class Splat:
    """What newer cores call ``Types.SPLAT``, for those that have no such type yet."""

    positions: Tensor
    scales: Tensor
    rotations: Tensor
    opacities: Tensor
    sh: Tensor
    counts: Tensor | None = None


@dataclass(frozen=True)
class SplatSequence:
    """A SPLAT batch as a `GaussianSequence`: one frame each, all of them seen by a camera in front of the first."""

    splat: Any
    device: torch.device
    fps: float = 25.0

    def __post_init__(self) -> None:
        """Raise InputError where there is nothing to see."""
        if not len(self) or not len(self.frame(0)):
            raise InputError("The splat is empty: there is nothing to render.")

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.splat.positions)

    def frame(self, index: int, view: Camera | None = None) -> Gaussians:
        """Return one frame in canonical axes, the same for every view; harmonics above degree 1 are left out."""
        splat, counts = self.splat, self.splat.counts
        rows = slice(None if counts is None else int(counts[index]))
        means, scales, quats, opacities, harmonics = (
            values[index, rows].detach().to(self.device, torch.float32)
            for values in (splat.positions, splat.scales, splat.rotations, splat.opacities, splat.sh)
        )
        sh = means.new_zeros(len(means), 4, 3)
        known = 4 if harmonics.shape[1] >= 4 else 1
        sh[:, :known] = harmonics[:, :known]
        labels = torch.zeros(len(means), dtype=torch.uint8, device=self.device)
        return from_image_axes(Gaussians(means, quats, scales, opacities.reshape(-1), sh, labels))

    def camera(self, index: int) -> Camera:
        """Return the camera, the same for every frame."""
        return self.home

    @cached_property
    def center(self) -> tuple[float, float, float]:
        """Middle of the first frame."""
        return tuple(self.frame(0).means.mean(dim=0).tolist())

    @cached_property
    def home(self) -> Camera:
        """A camera in front of the first frame that shows all of it."""
        camera, center = Camera.for_crop(), torch.tensor(self.center)
        radii = (self.frame(0).means.cpu() - center).norm(dim=1).sort().values
        radius = max(float(radii[int(COUNTED * (len(radii) - 1))]), 1e-6)
        distance = radius * camera.focal / (0.5 * FILLED * camera.width)
        return camera.posed(FRONT, torch.tensor([0.0, 0.0, distance]) - FRONT @ center)


def to_splat(sequence: AnalyticSequence, indices: Sequence[int], bake_pose: bool, on_step: OnStep) -> Any:
    """Return the given frames as one SPLAT batch, y down and z forward, around the origin."""
    frames: list[Gaussians] = []
    for index in indices:
        frames.append(posed(sequence, index) if bake_pose else to_image_axes(sequence.frame(index)))
        on_step(len(frames), len(indices))
    return _splat_type()(
        torch.stack([frame.means for frame in frames]),
        torch.stack([frame.scales for frame in frames]),
        torch.stack([frame.quats for frame in frames]),
        torch.stack([frame.opacities[:, None] for frame in frames]),
        torch.stack([frame.sh for frame in frames]),
    )


def posed(sequence: AnalyticSequence, index: int) -> Gaussians:
    """Return a frame with the head's pose in it, measured from where the head is in the portrait."""
    camera, home = sequence.camera(index), sequence.avatar.points.fit.camera.translation
    return moved(sequence.frame(index), camera.rotation, camera.translation - home.to(camera.translation))


def _splat_type() -> type:
    from comfy_api.latest import Types

    return getattr(Types, "SPLAT", Splat)
