"""Which coefficients belong together: regions of the face and pairs of shapes that limit each other."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from ..portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES

FACE_REGIONS: dict[str, tuple[str, ...]] = {
    "eyes": ("eye",),
    "brows": ("brow",),
    "jaw": ("jaw",),
    "mouth": ("mouth", "tongue"),
    "cheeks": ("cheek",),
    "nose": ("nose",),
}
"""Regions of the 52 blendshapes, by the beginning of their names; together they cover every one once."""

REGIONS: tuple[str, ...] = (*FACE_REGIONS, "gaze", "head")
"""All regions that can be mixed: those of the face, the eyeballs, and the pose of the head."""

SPEECH_REGIONS: tuple[str, ...] = ("jaw", "mouth")
"""Regions that sound moves when it is mixed with another driver."""

MOUTH_OPENING: tuple[str, ...] = (
    "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthShrugLower", "mouthShrugUpper", "mouthRollLower",
    "mouthRollUpper", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
)  # fmt: skip
"""Shapes that part or purse the lips: speech sets them alone, whatever the portrait's mouth does; its smile stays."""

BLINKS: tuple[int, int] = (BLENDSHAPE_INDEX["eyeBlinkLeft"], BLENDSHAPE_INDEX["eyeBlinkRight"])
"""Indices of the two shapes that close the lids: left, right."""


def indices(names: tuple[str, ...]) -> list[int]:
    """Return the positions of the named blendshapes."""
    return [BLENDSHAPE_INDEX[name] for name in names]


def region_mask(region: str) -> Bool[Tensor, "52"]:
    """Return which blendshapes belong to one of `FACE_REGIONS`."""
    return torch.tensor([name.startswith(FACE_REGIONS[region]) for name in BLENDSHAPES])
