"""How low points of the head lie: below the jaw, or where long hair passes over into the torso's layer."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..geometry.points import HeadPoints
from ..geometry.silhouette import in_view
from ..portrait.face_frame import FaceFrame
from ..portrait.matte import hair_levels
from ..portrait.parsing import Label
from ..portrait.portrait import Portrait

CHIN, JAW_SLOPE = (-1.15, 0.26), 0.517
"""Height and depth of the chin's underside, canonical, and how far the jaw's plane rises from there to the back."""
_STRANDS = (int(Label.HAIR), int(Label.OTHER))
"""What hangs down beside a neck."""


def below_jaw(places: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Return how far canonical places lie below the jaw's plane, units of 10 cm."""
    _, height, depth = places.unbind(-1)
    return CHIN[0] + JAW_SLOPE * (CHIN[1] - depth) - height


def below_hair_level(portrait: Portrait, points: HeadPoints) -> Float[Tensor, "n"]:
    """Return how far points lie below the level at which the torso's layer begins to show hair too, in face heights."""
    frame = FaceFrame.from_landmarks(portrait.landmarks.double().cpu().numpy())
    level, _ = hair_levels(frame, portrait.crop.shape[-1])
    pixels = points.fit.camera.project(points.positions)[:, :2]
    return torch.from_numpy(frame.from_pixels(pixels.double().cpu().numpy())[:, 1] - level).to(pixels)


def is_hair(portrait: Portrait, points: HeadPoints) -> Bool[Tensor, "n"]:
    """Tell which points are hair, or what else hangs down beside a neck, seen or mirrored."""
    column, row = points.pixel.long().unbind(-1)
    seen, twin = _strands(portrait)[row, column], points.mirror_of.long()
    return torch.cat((seen, seen[twin], seen.new_zeros(len(points.positions) - len(seen) - len(twin))))


def behind_hair(portrait: Portrait, points: HeadPoints) -> Bool[Tensor, "n"]:
    """Tell where the picture shows such hair in the place of points."""
    view = in_view(points.positions, points.fit.camera)
    return _strands(portrait)[view.row, view.column]


def _strands(portrait: Portrait) -> Bool[Tensor, "512 512"]:
    return torch.isin(portrait.labels.long(), torch.tensor(_STRANDS, device=portrait.labels.device))
