"""`GaussianSequence`: Gaussians over time, computed on demand."""

from __future__ import annotations

from typing import Protocol

from ..head.camera import Camera
from .gaussians import Gaussians


class GaussianSequence(Protocol):
    """Frames of Gaussians; ten minutes cost the memory of one frame."""

    fps: float

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def frame(self, index: int, view: Camera | None = None) -> Gaussians:
        """Return the canonical Gaussians of one frame, as ``view`` will see them; for every side when None."""
        ...

    def camera(self, index: int) -> Camera:
        """Return the camera of one frame."""
        ...
