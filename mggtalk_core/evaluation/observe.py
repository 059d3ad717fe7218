"""Watching a driver and a driven face side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .landmarks import angle_degrees, eye_opening, jitter, mouth_opening, turns
from .metrics import correlation
from .tables import Mean, Row, Table

if TYPE_CHECKING:
    from ..portrait.landmarker import Face

MOVING_MOUTH = 0.04
"""Least standard deviation of the mouth opening (over the eye distance) whose correlation means something: 2 % of the
face height."""
BLINK = 0.5
"""Eyes that are less open than this part of the median are shut in a blink."""
MOVING_MOUTH_MEAN = "mouth_correlation where the mouth moves"


class Observed:
    """Landmarks and blendshapes of one face, frame by frame: eight kilobytes a frame."""

    def __init__(self) -> None:
        """Start with no frame."""
        self._landmarks: list[Float[Tensor, "478 3"]] = []
        self._blendshapes: list[Float[Tensor, "52"]] = []

    def add(self, face: Face | None) -> None:
        """Append a frame; None where no face was seen."""
        self._landmarks.append(torch.full((478, 3), torch.nan) if face is None else face.landmarks)
        self._blendshapes.append(torch.full((52,), torch.nan) if face is None else face.blendshapes)

    def __len__(self) -> int:
        """Return the number of frames, with a face or without."""
        return len(self._landmarks)

    @property
    def landmarks(self) -> Float[Tensor, "T 478 3"]:
        """Landmarks in pixels; NaN in frames without a face."""
        return torch.stack(self._landmarks) if self._landmarks else torch.zeros(0, 478, 3)

    @property
    def blendshapes(self) -> Float[Tensor, "T 52"]:
        """Raw output of the blendshape network; NaN in frames without a face."""
        return torch.stack(self._blendshapes) if self._blendshapes else torch.zeros(0, 52)

    @property
    def seen(self) -> Bool[Tensor, "T"]:
        """Frames in which there was a face."""
        return self.landmarks[:, 0, 0].isfinite()


def motion_scores(driven: Observed, driver: Observed) -> Row:
    """Compare how two faces move, from what was seen of them; every change is relative to the first common frame.

    Returns:
        Pearson correlation of mouth and eye opening; the driver's standard deviation of the mouth opening; jitter of
        both (percent of the eye distance); ``aed_arkit52``, the mean absolute difference of the 52 blendshapes'
        changes, and ``apd_landmarker``, the mean angle between the turns in degrees: the paper's AED and APD (4.1) are
        distances of Deep3D's coefficients, with which these cannot be compared.
    """
    both = driven.seen & driver.seen
    ours, theirs = driven.landmarks[both], driver.landmarks[both]
    return {
        "unseen": int((~both).sum()),
        "mouth_correlation": correlation(mouth_opening(ours), mouth_opening(theirs)),
        "mouth_movement": float(mouth_opening(theirs).std()) if len(theirs) > 1 else math.nan,
        "eye_correlation": correlation(eye_opening(ours), eye_opening(theirs)),
        "jitter": jitter(driven.landmarks),
        "jitter_driver": jitter(driver.landmarks),
        "aed_arkit52": _expression_error(driven.blendshapes[both], driver.blendshapes[both]),
        "apd_landmarker": _pose_error(ours, theirs),
    }


def opening_errors(driven: Observed, truth: Observed) -> Row:
    """Compare how far eyes and mouth of the same person are open: mean absolute error in percent of the eye distance.

    ``blink_frames`` counts the frames in which the true eyes are less than `BLINK` times as open as in the median.
    """
    both = driven.seen & truth.seen
    ours, theirs = driven.landmarks[both], truth.landmarks[both]
    if not len(theirs):
        return {"eye_error": math.nan, "mouth_error": math.nan, "blink_frames": 0}
    eyes = eye_opening(theirs)
    return {
        "eye_error": 100.0 * float((eye_opening(ours) - eyes).abs().mean()),
        "mouth_error": 100.0 * float((mouth_opening(ours) - mouth_opening(theirs)).abs().mean()),
        "blink_frames": int((eyes < BLINK * eyes.median()).sum()),
    }


def moving_mouth_mean(table: Table) -> Mean:
    """Return the mean correlation of the mouth opening over the rows in which the driver's mouth really moves."""
    return table.mean("mouth_correlation", lambda row: row.get("mouth_movement", 0.0) >= MOVING_MOUTH)


def _expression_error(ours: Float[Tensor, "T 52"], theirs: Float[Tensor, "T 52"]) -> float:
    if len(ours) < 2:
        return math.nan
    return float(((ours[1:] - ours[0]) - (theirs[1:] - theirs[0])).abs().mean())


def _pose_error(ours: Float[Tensor, "T 478 3"], theirs: Float[Tensor, "T 478 3"]) -> float:
    if len(ours) < 2:
        return math.nan
    return float(angle_degrees(turns(ours[1:], ours[0]), turns(theirs[1:], theirs[0])).mean())
