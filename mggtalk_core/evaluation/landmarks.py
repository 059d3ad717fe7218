"""What landmarks tell of two faces: how far apart, how open, how restless, how turned.

Landmarks are MediaPipe's 478 in pixels; lengths are relative to the distance of the outer eye corners.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

EYE_CORNERS = (33, 263)
"""Outer corners of the right and the left eye."""
INNER_LIPS = (13, 14)
"""Middle of the inner upper and lower lip."""
LIDS = ((159, 145), (386, 374))
"""Middle of the upper and the lower lid, right eye and left eye."""
RIGID = (1, 4, 5, 6, 10, 33, 67, 109, 127, 133, 151, 168, 195, 197, 234, 263, 297, 338, 356, 362, 454)
"""Points that expression hardly moves: forehead, bridge of the nose, eye corners, in front of the ears."""


def eye_distance(landmarks: Float[Tensor, "*T 478 d"]) -> Float[Tensor, "*T"]:
    """Return the distance of the outer eye corners in the picture, in pixels."""
    right, left = EYE_CORNERS
    return (landmarks[..., right, :2] - landmarks[..., left, :2]).norm(dim=-1)


def landmark_error(landmarks: Float[Tensor, "*T 478 d"], truth: Float[Tensor, "*T 478 d"]) -> Float[Tensor, "*T"]:
    """Return the mean distance over all points in percent of the truth's eye distance."""
    distance = (landmarks[..., :2] - truth[..., :2]).norm(dim=-1).mean(dim=-1)
    return 100.0 * distance / eye_distance(truth)


def mouth_opening(landmarks: Float[Tensor, "*T 478 d"]) -> Float[Tensor, "*T"]:
    """Return the gap between the inner lips over the eye distance."""
    upper, lower = INNER_LIPS
    return (landmarks[..., upper, :2] - landmarks[..., lower, :2]).norm(dim=-1) / eye_distance(landmarks)


def eye_opening(landmarks: Float[Tensor, "*T 478 d"]) -> Float[Tensor, "*T"]:
    """Return the gap between the lids, mean of both eyes, over the eye distance."""
    gaps = [(landmarks[..., upper, :2] - landmarks[..., lower, :2]).norm(dim=-1) for upper, lower in LIDS]
    return sum(gaps) / len(gaps) / eye_distance(landmarks)


def jitter(landmarks: Float[Tensor, "T 478 d"]) -> float:
    """Return the mean length of the second difference over time, in percent of the eye distance.

    Frames that are NaN, and their neighbours, are left out; the result is NaN where no three frames in a row remain.
    """
    if len(landmarks) < 3:
        return math.nan
    flat = landmarks[..., :2]
    second = flat[2:] - 2.0 * flat[1:-1] + flat[:-2]
    return float(100.0 * (second.norm(dim=-1).mean(dim=-1) / eye_distance(landmarks)[1:-1]).nanmean())


def yaw_degrees(rotation: Float[Tensor, "*T 3 3"]) -> Float[Tensor, "*T"]:
    """Return how far the head (canonical to camera axes) is turned from the camera; + to the subject's left."""
    nose = rotation[..., :, 2]
    return torch.rad2deg(torch.atan2(nose[..., 0], -nose[..., 2]))


def turns(landmarks: Float[Tensor, "T 478 3"], reference: Float[Tensor, "478 3"]) -> Float[Tensor, "T 3 3"]:
    """Return the rotation of every frame against a reference face, by orthogonal Procrustes over `RIGID` points."""
    points, start = landmarks[:, RIGID].double(), reference[list(RIGID)].double()
    points, start = points - points.mean(dim=1, keepdim=True), start - start.mean(dim=0)
    u, _, vh = torch.linalg.svd(points.transpose(1, 2) @ start)
    sign = torch.ones(len(points), 3, dtype=torch.float64)
    sign[:, 2] = torch.linalg.det(u @ vh).sign()  # a rotation, never a reflection
    return (u * sign[:, None, :]) @ vh


def angle_degrees(first: Float[Tensor, "*T 3 3"], second: Float[Tensor, "*T 3 3"]) -> Float[Tensor, "*T"]:
    """Return the angle between two rotations."""
    # Twice the sine of half the angle is the chord: exact near zero, where the arc cosine of the trace is not.
    chord = (first.double() - second.double()).flatten(-2).norm(dim=-1) / math.sqrt(2.0)
    return torch.rad2deg(2.0 * torch.asin((chord / 2.0).clamp(max=1.0)))
