"""`HeadFit`: the parametric head that was fitted to a picture."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..record import Record
from .camera import Camera


@dataclass(frozen=True)
class HeadFit(Record):
    """Identity, expression and pose of the head in the crop; carried by every later stage."""

    identity: Float[Tensor, "modes"]
    """Coefficients of the identity modes (standard deviations)."""
    beta_s: Float[Tensor, "52"]
    """Source expression ``beta_s`` in the order of `BLENDSHAPES`, 0..1."""
    gaze: Float[Tensor, "4"]
    """Eyeball rotation in radians: left yaw, left pitch, right yaw, right pitch; +yaw to the subject's left, +pitch
    up."""
    camera: Camera
    """Camera of the crop; its pose is the head's pose (canonical to camera)."""
    offsets: Float[Tensor, "vertices 3"]
    """Canonical displacement of every model vertex that makes the model meet the landmarks."""
    residual: float
    """Mean distance between projected model landmarks and detected ones, in crop pixels, before `offsets`."""
