"""Faces in a picture: 478 landmarks and 52 blendshapes each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..progress import OnStep, ignore_steps
from ..record import Record
from .detector import FaceDetector
from .face_mesh import (
    BLENDSHAPE_POINTS,
    LANDMARKS,
    LEFT_EYE_OUTER,
    RIGHT_EYE_OUTER,
    mirror_indices,
    to_live_link,
)
from .networks import load_networks
from .warp import Region, apply, invert, warp

EDGE = 256
MARGIN = 1.5
"""Edge of the landmark network's crop over the longer side of the landmarks' bounding box."""
MIN_PRESENCE = 0.55
SMALLEST = 24.0
"""Pixels: what is found below this size is as often no face."""
TASK = "face_landmarker.task"
TASK_MEMBERS = ("face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite")


@dataclass(frozen=True)
class Face(Record):
    """One face, in pixels of the picture it was found in (continuous: the first pixel's centre is 0.5, 0.5)."""

    landmarks: Float[Tensor, "478 3"]
    """MediaPipe's face mesh; z at the same scale as x and y, smaller is nearer."""
    blendshapes: Float[Tensor, "52"]
    """Raw output of the blendshape network in the order of `BLENDSHAPES`."""
    score: float
    """How sure the networks are that this is a face, 0..1."""

    @property
    def size(self) -> float:
        """Longer side of the landmarks' bounding box in pixels."""
        flat = self.landmarks[:, :2]
        return float((flat.amax(dim=0) - flat.amin(dim=0)).max())


class FaceLandmarker:
    """Google's face landmarker (Apache-2.0) with our own pre- and post-processing."""

    def __init__(self, *, on_step: OnStep = ignore_steps) -> None:
        """Load the networks, fetching them first where that is needed."""
        from ..weights.resolver import resolve

        detector, self._landmarks, self._blendshapes = load_networks(resolve(TASK, on_step=on_step), TASK_MEMBERS)
        self.detector = FaceDetector(detector)
        self._mirror = mirror_indices()

    def detect(self, image: np.ndarray, *, precise: bool = False, upright: bool = False) -> list[Face]:
        """Find all faces in a picture [H,W,3] (uint8 RGB), largest first.

        ``precise``: see `refine`. ``upright``: do not look for faces in the picture turned by quarters.
        """
        for found in self.detector.attempts(image, (0,) if upright else (0, 1, 3, 2)):
            faces = [self.refine(image, detection.region(), precise=precise) for detection in found]
            present = [face for face in faces if face.score >= MIN_PRESENCE and face.size >= SMALLEST]
            if present:
                return _without_doubles(sorted(present, key=lambda face: -face.size))
        return []

    def refine(self, image: np.ndarray, region: Region, *, precise: bool = False, steps: int = 2) -> Face:
        """Read the face in ``region``, whose crop is corrected ``steps - 1`` times by the landmarks found in it.

        The crop and its mirror image are averaged, which takes away the network's left-right bias (0.5 % of the eye
        distance); ``precise`` averages three sizes of crop too, for stills: half the scatter at three times the cost.
        """
        for _ in range(steps - 1):
            region = face_region(self._read(image, region)[0])
        sizes = (0.94, 1.0, 1.06) if precise else (1.0,)
        views = [Region(region.center, region.size * grow, region.angle) for grow in sizes]
        readings = [self._read(image, view, flip=flip) for view in views for flip in (False, True)]
        landmarks = np.mean([points for points, _ in readings], axis=0)
        presence = float(np.mean([score for _, score in readings]))
        return Face(torch.from_numpy(landmarks).float(), torch.from_numpy(self._expression(landmarks)), presence)

    def _read(self, image: np.ndarray, region: Region, *, flip: bool = False) -> tuple[np.ndarray, float]:
        """Run the landmark network on one crop; returns landmarks [478,3] in picture pixels and the presence."""
        to_crop = region.to_crop(EDGE, flip=flip)
        pixels = warp(image, to_crop, (EDGE, EDGE)).astype(np.float32) / 255.0
        outputs = self._landmarks(pixels[None])
        points = outputs[0].reshape(LANDMARKS, 3).astype(np.float64)
        flat = apply(invert(to_crop), points[:, :2])
        landmarks = np.concatenate((flat, points[:, 2:] * (region.size / EDGE)), axis=1)
        presence = 1.0 / (1.0 + np.exp(-float(outputs[1].reshape(()))))
        return (landmarks[self._mirror] if flip else landmarks), presence

    def _expression(self, landmarks: np.ndarray) -> np.ndarray:
        """Run the blendshape network on the landmarks, turned upright; returns [52] in the order of `BLENDSHAPES`."""
        upright = apply(face_region(landmarks).to_crop(EDGE), landmarks[:, :2])
        return to_live_link(self._blendshapes(upright[None, list(BLENDSHAPE_POINTS)])[0])


def face_region(landmarks: np.ndarray) -> Region:
    """Return the square around landmarks [478,3] that the landmark network wants, turned with the eyes."""
    across = landmarks[LEFT_EYE_OUTER, :2] - landmarks[RIGHT_EYE_OUTER, :2]
    angle = float(np.arctan2(across[1], across[0]))
    turn = Region(np.zeros(2), 1.0, angle).to_crop(1)
    turned = apply(turn, landmarks[:, :2])
    low, high = turned.min(axis=0), turned.max(axis=0)
    center = apply(invert(turn), ((low + high) / 2)[None])[0]
    return Region(center, float((high - low).max()) * MARGIN, angle)


def _without_doubles(faces: list[Face]) -> list[Face]:
    """Drop faces whose centre lies within half a face of a larger one: two boxes that led to the same face."""
    kept: list[Face] = []
    for face in faces:
        center = face.landmarks[:, :2].mean(dim=0)
        if all((center - other.landmarks[:, :2].mean(dim=0)).norm() > other.size / 2 for other in kept):
            kept.append(face)
    return kept
