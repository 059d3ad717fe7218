"""`HeadTrack`: the parametric head over the frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..record import Record


@dataclass(frozen=True)
class HeadTrack(Record):
    """Expression, gaze and pose of one person in every frame; the camera stands still."""

    identity: Float[Tensor, "modes"]
    """Coefficients of the identity modes (standard deviations)."""
    beta: Float[Tensor, "frames 52"]
    """Expression in the order of `BLENDSHAPES`, 0..1."""
    gaze: Float[Tensor, "frames 4"]
    """Eyeball rotation in radians: left yaw, left pitch, right yaw, right pitch."""
    rotation: Float[Tensor, "frames 3 3"]
    """Rotation from canonical to camera space."""
    translation: Float[Tensor, "frames 3"]
    """Translation from canonical to camera space, in units of 10 cm."""
    residual: Float[Tensor, "frames"]
    """Mean distance between projected model landmarks and detected ones, in pixels."""
