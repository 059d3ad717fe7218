"""Reading ICT-FaceKit, in the canonical frame and with the names of our blendshapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..head.parts import Part
from ..portrait.blendshapes import BLENDSHAPES

CENTIMETRES_PER_UNIT = 10.0
VERTEX_COUNT = 24591
"""Vertices up to here are kept; lashes and eye fluids follow."""
JAW_GUMS = range(14062, 17039)
"""Gums and tongue are one surface in the source."""
OUTER_EYES = {Part.EYE_LEFT: range(21451, 22221), Part.EYE_RIGHT: range(23021, 23791)}
"""Each eyeball has an outer layer, kept, and an inner one behind the cornea, dropped."""
PART_RANGES: dict[Part, tuple[range, ...]] = {
    Part.FACE: (range(0, 9409),),
    Part.SCALP: (range(9409, 11248),),
    Part.MOUTH_SOCKET: (range(11248, 13294),),
    Part.EYE_SOCKET: (range(13294, 14062),),
    Part.GUMS: (JAW_GUMS,),
    Part.TEETH: (range(17039, 21451),),
    Part.EYE_LEFT: (OUTER_EYES[Part.EYE_LEFT],),
    Part.EYE_RIGHT: (OUTER_EYES[Part.EYE_RIGHT],),
}
LIP_CHAIN = (5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966)
"""Vertices on the line where the lips meet, from the subject's right corner over the upper lip and back."""
LID_CHAIN_RIGHT = (1507, 1542, 1537, 1528, 1518, 1511)
LID_CHAIN_LEFT = (3742, 3751, 3756, 3721, 3725, 3732)
"""Vertices on the lid margins: (right eye from its outer corner, left eye from its inner corner) over the upper lid."""

_TIED = {
    "browInnerUp": ("browInnerUp_L", "browInnerUp_R"),
    "cheekPuff": ("cheekPuff_L", "cheekPuff_R"),
    "tongueOut": (),
}


@dataclass(frozen=True)
class SourceHead:
    """ICT-FaceKit's head: numpy float64, canonical axes and units."""

    neutral: np.ndarray  # [V, 3]
    identity: np.ndarray  # [100, V, 3]
    expression: np.ndarray  # [52, V, 3], tongueOut zero
    triangles: np.ndarray  # [F, 3]
    quad_edges: np.ndarray  # [E, 2], without the diagonals of quads
    parts: np.ndarray  # [V], -1 where dropped
    eye_centers: np.ndarray  # [2, 3], left and right


def read_source(folder: Path) -> SourceHead:
    """Read ``ict_facekit.npz`` from ``folder``.

    Raises InputError if the file is missing.
    """
    path = Path(folder) / "ict_facekit.npz"
    if not path.is_file():
        raise InputError(f"{path} is missing: give the folder that holds ict_facekit.npz")
    data = np.load(path)
    neutral = data["neutral"][:VERTEX_COUNT].astype(np.float64)
    centers = np.stack([_sphere_center(neutral[list(OUTER_EYES[side])]) for side in OUTER_EYES])
    centers = (centers + centers[::-1] * [-1, 1, 1]) / 2
    origin = centers.mean(axis=0)
    names = [str(name) for name in data["expression_names"]]
    identity = data["identity"][:, :VERTEX_COUNT].astype(np.float64) / CENTIMETRES_PER_UNIT
    expression = data["expression"][:, :VERTEX_COUNT].astype(np.float64) / CENTIMETRES_PER_UNIT
    return SourceHead(
        neutral=(neutral - origin) / CENTIMETRES_PER_UNIT,
        identity=identity,
        expression=_in_our_order(expression, names),
        triangles=_kept(data["triangles"]),
        quad_edges=_quad_edges(data["face_vertices"]),
        parts=_parts(),
        eye_centers=(centers - origin) / CENTIMETRES_PER_UNIT,
    )


def _sphere_center(points: np.ndarray) -> np.ndarray:
    """Centre of the sphere through the back of the eyeball; the cornea in front bulges out of it."""
    back = points[points[:, 2] < points[:, 2].max() - 0.6]
    system = np.concatenate((2 * back, np.ones((len(back), 1))), axis=1)
    return np.linalg.lstsq(system, (back**2).sum(axis=1), rcond=None)[0][:3]


def _in_our_order(expression: np.ndarray, names: list[str]) -> np.ndarray:
    """Rename and tie: ``_L`` and ``_R`` are the subject's sides, as ``Left`` and ``Right`` are in ARKit."""
    shapes = []
    for name in BLENDSHAPES:
        side = name.replace("Left", "_L").replace("Right", "_R")
        whole = name in names  # jawLeft, mouthRight and their like are not sides of a pair
        sources = _TIED.get(name, (name if whole else side,))
        shapes.append(sum((expression[names.index(source)] for source in sources), np.zeros(expression.shape[1:])))
    return np.stack(shapes)


def _parts() -> np.ndarray:
    parts = np.full(VERTEX_COUNT, -1, dtype=np.int64)
    for part, ranges in PART_RANGES.items():
        for span in ranges:
            parts[span.start : span.stop] = part
    return parts


def _kept(triangles: np.ndarray) -> np.ndarray:
    parts = np.append(_parts(), np.full(triangles.max() + 1 - VERTEX_COUNT, -1))
    return triangles[(parts[triangles] >= 0).all(axis=1)].astype(np.int64)


def _quad_edges(quads: np.ndarray) -> np.ndarray:
    """Sides of the quads (-1 pads triangles), each once."""
    following = np.where(np.roll(quads, -1, axis=1) < 0, quads[:, :1], np.roll(quads, -1, axis=1))
    edges = np.stack((quads, following), axis=-1).reshape(-1, 2)
    edges = np.sort(edges[(edges >= 0).all(axis=1) & (edges < VERTEX_COUNT).all(axis=1)], axis=1)
    return np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0)
