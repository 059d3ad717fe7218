"""What the mouth net speaks of: groups of blendshapes, and how far they part the lips."""

from __future__ import annotations

from functools import cache

import numpy as np

from ..head.model import load_head_model
from ..portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES

SHAPES: tuple[str, ...] = (
    "jawOpen", "jawForward", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmile", "mouthFrown", "mouthDimple",
    "mouthStretch", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPress",
    "mouthLowerDown", "mouthUpperUp",
)  # fmt: skip
"""Shapes of mouth and jaw; those with two sides move both alike, as in speech."""
OPENING = "opening"
"""Gap between the inner lips over the distance of the eyes' outer corners: what viewers see first."""
CLOSED = "closed"
"""Log-odds that the lips are shut by a P, B or M."""
OUTPUTS: tuple[str, ...] = (*SHAPES, OPENING, CLOSED)

PARTING: dict[str, float] = {"jawOpen": 1.0, "mouthLowerDown": 0.5, "mouthUpperUp": 0.2}
"""Shapes, in their proportion, that make up what the others lack of the opening."""
_INNER_LIPS = (13, 14)
_EYE_CORNERS = (33, 263)


def columns(name: str) -> list[int]:
    """Return the places of a shape, or of both its sides, among the 52."""
    return [BLENDSHAPE_INDEX[full] for full in (name, f"{name}Left", f"{name}Right") if full in BLENDSHAPE_INDEX]


@cache
def spread() -> np.ndarray:
    """Return the matrix [shapes,52] from `SHAPES` to the blendshapes."""
    matrix = np.zeros((len(SHAPES), len(BLENDSHAPES)))
    for row, name in enumerate(SHAPES):
        matrix[row, columns(name)] = 1.0
    return matrix


def gathered(beta: np.ndarray) -> np.ndarray:
    """Return the values of `SHAPES` [T,shapes] in 52 blendshapes [T,52]; two sides are averaged."""
    matrix = spread()
    return beta @ (matrix / matrix.sum(axis=1, keepdims=True)).T


@cache
def gap_basis() -> tuple[float, np.ndarray]:
    """Return the gap between the inner lips of the mean head at rest and by blendshape [52], over its eye distance."""
    model = load_head_model()
    upper, lower = _INNER_LIPS
    rest = model.landmarks(model.mean)
    distance = float((rest[_EYE_CORNERS[0], :2] - rest[_EYE_CORNERS[1], :2]).norm())
    moved = [model.landmarks(shape) for shape in model.expression_basis]
    gaps = np.array([float(shape[upper, 1] - shape[lower, 1]) for shape in moved])
    return float(rest[upper, 1] - rest[lower, 1]) / distance, gaps / distance
