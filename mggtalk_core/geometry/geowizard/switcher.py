"""The geometry switcher: which task and which kind of scene, as the numbers that the time embedding is told."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

Scene = Literal["object", "indoor", "outdoor"]
"""``object``: cut out of its background; the others keep it."""
SCENES: tuple[str, ...] = get_args(Scene)
CHANNELS = 10
"""Sine and cosine of a one-hot pair and of a one-hot triple."""

_DEPTH, _NORMALS = (0.0, 1.0), (1.0, 0.0)
_SCENE_CODES = {"indoor": (1.0, 0.0, 0.0), "outdoor": (0.0, 1.0, 0.0), "object": (0.0, 0.0, 1.0)}


def geometry_switcher(scene: Scene) -> Float[Tensor, "2 10"]:
    """Return the class embeddings of the depth task and of the normals task (GeoWizard 3.2 and 3.3)."""
    return torch.stack([torch.cat((_waves(task), _waves(_SCENE_CODES[scene]))) for task in (_DEPTH, _NORMALS)])


def _waves(code: tuple[float, ...]) -> Float[Tensor, "n"]:
    angles = torch.tensor(code)
    return torch.cat((angles.sin(), angles.cos()))
