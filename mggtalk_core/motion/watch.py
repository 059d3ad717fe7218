"""Watch a clip: the landmarks and raw blendshapes of one face in every frame, and nothing else of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError
from ..portrait.landmarker import Face
from ..portrait.tracker import FaceTracker
from ..progress import OnStep, ignore_steps
from ..record import Record
from .smooth import gap_neighbours
from .steady import Steadier


@dataclass(frozen=True)
class Sightings(Record):
    """What was seen of one face over ``T`` frames; frames without it hold what lies between their neighbours."""

    landmarks: Float[Tensor, "T 478 3"]
    """In pixels of the clip."""
    blendshapes: Float[Tensor, "T 52"]
    """Raw output of the network."""
    found: Bool[Tensor, "T"]
    """Frames in which the face was really seen."""


def watch(frames: Iterable[np.ndarray], total: int, *, on_step: OnStep = ignore_steps) -> Sightings:
    """Follow one face through uint8 RGB frames [H,W,3]; six kilobytes are kept of each.

    Args:
        frames: the pictures, one at a time.
        total: how many there are, for the progress.
        on_step: called after every frame.

    Raises:
        InputError: no frame at all, or none with a face.
    """
    tracker, steadier = FaceTracker(), Steadier()
    faces = []
    for done, frame in enumerate(frames, start=1):
        face = tracker.update(frame)
        faces.append(None if face is None else (_steadied(steadier, frame, face), face.blendshapes.float()))
        on_step(done, max(total, done))
    if not faces:
        raise InputError("The clip has no frames; give one with at least one picture.")
    found = torch.tensor([face is not None for face in faces])
    before, after, weight = gap_neighbours(found)
    blank = torch.zeros(478, 3), torch.zeros(52)
    landmarks, blendshapes = (
        torch.stack([(blank if face is None else face)[part] for face in faces]) for part in (0, 1)
    )
    return Sightings(between(landmarks, before, after, weight), between(blendshapes, before, after, weight), found)


def _steadied(steadier: Steadier, frame: np.ndarray, face: Face) -> Float[Tensor, "478 3"]:
    return torch.from_numpy(steadier(frame, face.landmarks.double().cpu().numpy())).float()


def between(values: Tensor, before: Tensor, after: Tensor, weight: Float[Tensor, "T"]) -> Tensor:
    """Return values in which frames with neither weight nor gap are bit for bit as they were."""
    shape = (-1,) + (1,) * (values.dim() - 1)
    return values[before] + weight.to(values).view(shape) * (values[after] - values[before])
