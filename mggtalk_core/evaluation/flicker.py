"""Flicker: how much pixels change from frame to frame where the face does not move."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .landmarks import landmark_error
from .metrics import Image, Mask
from .regions import face_mask, part_masks

if TYPE_CHECKING:
    from ..portrait.landmarker import Face

STILL = 0.5
"""Two frames are still when landmarks moved by less than this in the mean, in percent of the eye distance."""


def still_region(before: Face | None, face: Face | None, inside: Mask) -> Mask | None:
    """Return the face without eyes and mouth in the later of two frames; None where it moved or was not seen.

    The region is found from landmarks alone, so that the truth's own noise is judged by the same pixels.
    """
    if before is None or face is None or float(landmark_error(face.landmarks, before.landmarks)) >= STILL:
        return None
    parts = part_masks(face.landmarks)
    hull = face_mask(face.landmarks, *inside.shape[1:])
    return inside * hull * (1.0 - parts["eyes"]) * (1.0 - parts["mouth"])


class StillChange:
    """Mean change of pixels between neighbouring frames in the still region, in levels of 255."""

    def __init__(self) -> None:
        """Start before the first frame."""
        self._before: Image | None = None
        self._changes: list[float] = []

    def add(self, image: Image, region: Mask | None) -> None:
        """Take the next frame; None where nothing was still since the one before."""
        if region is not None and self._before is not None and float(region.sum()) > 0.0:
            change = (image - self._before).abs().mean(dim=0) * region[0]
            self._changes.append(255.0 * float(change.sum() / region.sum()))
        self._before = image

    def __len__(self) -> int:
        """Return how many pairs of frames were still."""
        return len(self._changes)

    @property
    def mean(self) -> float:
        """Mean over the still pairs of frames; NaN if there was none."""
        return sum(self._changes) / len(self._changes) if self._changes else math.nan
