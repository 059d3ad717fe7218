"""Our Gaussians as ComfyUI's SPLAT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..mggtalk_core.gaussians.files import to_image_axes
from ..mggtalk_core.gaussians.gaussians import Gaussians
from ..mggtalk_core.gaussians.predict import AnalyticSequence
from ..mggtalk_core.gaussians.turn import moved
from ..mggtalk_core.progress import OnStep


@dataclass
class Splat:
    """What newer cores call ``Types.SPLAT``, for those that have no such type yet."""

    positions: Tensor
    scales: Tensor
    rotations: Tensor
    opacities: Tensor
    sh: Tensor
    counts: Tensor | None = None


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
