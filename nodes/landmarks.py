"""ComfyUI's FACE_LANDMARKS as what the core has seen of a clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..mggtalk_core.errors import InputError
from ..mggtalk_core.motion.smooth import gap_neighbours
from ..mggtalk_core.motion.watch import Sightings, between
from ..mggtalk_core.portrait.blendshapes import BLENDSHAPES


def sightings(face_landmarks: dict[str, Any], max_frames: int | None = None) -> Sightings:
    """Return the largest face of every frame; frames without one hold what lies between their neighbours.

    Raises:
        InputError: no frame, or none with a face.
    """
    frames = face_landmarks["frames"][:max_frames]
    if not frames:
        raise InputError("The face landmarks have no frames; give a clip with at least one picture.")
    faces = [max(faces, key=_height) if faces else None for faces in frames]
    found = torch.tensor([face is not None for face in faces])
    before, after, weight = gap_neighbours(found)
    landmarks = torch.stack([torch.zeros(478, 3) if face is None else points_of(face) for face in faces])
    shapes = torch.stack([torch.zeros(52) if face is None else shapes_of(face) for face in faces])
    return Sightings(between(landmarks, before, after, weight), between(shapes, before, after, weight), found)


def points_of(face: dict[str, Any]) -> Float[Tensor, "478 3"]:
    """Return a face's landmarks in pixels of the picture; z, which comes in pixels of a crop, is scaled to match."""
    flat, solid = (np.asarray(face[name], dtype=np.float64) for name in ("landmarks_xy", "landmarks_3d"))
    scale = np.sqrt(flat.var(axis=0).sum() / max(solid[:, :2].var(axis=0).sum(), 1e-12))
    return torch.from_numpy(np.column_stack((flat, solid[:, 2] * scale))).float()


def shapes_of(face: dict[str, Any]) -> Float[Tensor, "52"]:
    """Return a face's blendshapes in our order; what the network does not know is 0."""
    named = face["blendshapes"]
    return torch.tensor([float(named.get(name, 0.0)) for name in BLENDSHAPES])


def _height(face: dict[str, Any]) -> float:
    return float(face["bbox_xyxy"][3] - face["bbox_xyxy"][1])
