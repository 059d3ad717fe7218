"""`Motion`: what drives the head, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..media.sound import Sound
from ..record import Record


@dataclass(frozen=True)
class Rest(Record):
    """The driver's neutral state, which ``reference="neutral"`` subtracts."""

    beta: Float[Tensor, "52"]
    gaze: Float[Tensor, "4"]
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]


@dataclass(frozen=True)
class Motion(Record):
    """A driving signal of ``T`` frames in the driver's own terms; `retarget` turns it into the portrait's terms."""

    beta: Float[Tensor, "T 52"]
    """Driving expression ``beta_d`` in the order of `BLENDSHAPES`; nominally 0..1, not clamped."""
    gaze: Float[Tensor, "T 4"]
    """Eyeball rotation in radians: left yaw, left pitch, right yaw, right pitch; + to the subject's left and up."""
    rotation: Float[Tensor, "T 3 3"]
    """Head rotation, canonical to camera axes; a head that looks into the camera has diag(1, -1, -1)."""
    translation: Float[Tensor, "T 3"]
    """Head translation in the camera, units of 10 cm."""
    fps: float
    rest: Rest
    eye_distance: float
    """Distance between the driver's eyeballs in units; scales its translation onto another head."""
    kind: str
    """``video``, ``audio``, ``rig``, ``file`` or ``mixed``."""
    sound: Sound | None = None
    """The sound that belongs to the motion, if any."""
    held: tuple[int, ...] = ()
    """Frames in which the driver's face was not found and whose values are interpolated or held."""
    start: Rest | None = None
    """State that ``reference="first"`` subtracts; None: the first frame. Sound and sliders start from their rest."""
    speech: float = 0.0
    """Share of the mouth that comes from sound, 0..1: its closed lips close the portrait's."""
    neutral: Float[Tensor, "52"] | None = None
    """Share of the portrait's own expression that is taken away, per blendshape, 0..1; None: nothing."""
    look: float = 0.0
    """How much the portrait's eyes look into the camera, wherever the head turns: 0 as driven, 1 always."""

    def __len__(self) -> int:
        """Return the number of frames ``T``."""
        return self.beta.shape[0]
