"""Our compact template: which of the source's vertices stay, what part they belong to, and where lips and lids end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..head.parts import Part
from ..portrait.blendshapes import BLENDSHAPE_INDEX
from ..studio.source_head import LID_CHAIN_LEFT, LID_CHAIN_RIGHT, LIP_CHAIN, SourceHead
from .head_model_decimate import SymmetricDecimator

TARGET_VERTICES = 11400
POSES = (
    ("jawOpen",), ("eyeBlinkLeft", "eyeBlinkRight"), ("mouthFunnel",), ("mouthPucker",),
    ("mouthSmileLeft", "mouthSmileRight"), ("browInnerUp",),
)  # fmt: skip
"""Expressions, beside the neutral one, in which the decimated surface must stay close to the source's."""
_IMPORTANCE = {
    Part.FACE: 1.0, Part.SCALP: 0.03, Part.MOUTH_SOCKET: 0.02, Part.EYE_SOCKET: 0.05, Part.GUMS: 0.15,
    Part.TEETH: 0.3, Part.TONGUE: 2.0, Part.EYE_LEFT: 12.0, Part.EYE_RIGHT: 12.0,
}  # fmt: skip
_LONGEST_EDGE = {
    Part.FACE: 0.11, Part.SCALP: 0.25, Part.MOUTH_SOCKET: 0.25, Part.EYE_SOCKET: 0.15, Part.GUMS: 0.15,
    Part.TEETH: 0.15, Part.TONGUE: 0.12, Part.EYE_LEFT: 0.06, Part.EYE_RIGHT: 0.06,
}  # fmt: skip


@dataclass(frozen=True)
class Template:
    """The compact head: numpy, canonical axes and units."""

    kept: np.ndarray  # [V] indices into the source
    triangles: np.ndarray  # [F, 3] template indices
    parts: np.ndarray  # [V]
    mirror: np.ndarray  # [V]
    inner_lip: np.ndarray
    eyelid_left: np.ndarray
    eyelid_right: np.ndarray


def make_template(source: SourceHead) -> Template:
    """Label, decimate and renumber the source's mesh; the result is exactly symmetric."""
    mirror = mirror_vertices(source)
    parts = _with_tongue(source, mirror)
    loops = [_closed_contour(source, chain) for chain in (LIP_CHAIN, LID_CHAIN_LEFT, LID_CHAIN_RIGHT)]
    loops[1] = mirror[loops[2]]
    kept, triangles = _decimate(source, parts, mirror, np.concatenate(loops))
    number = np.full(len(mirror), -1)
    number[kept] = np.arange(len(kept))
    lip, left, right = (number[loop] for loop in loops)
    return Template(kept, number[triangles], parts[kept], number[mirror[kept]], lip, left, right)


def mirror_vertices(source: SourceHead) -> np.ndarray:
    """Pair every vertex with its mirror image: nearest in place and, where lips touch, in movement."""
    from scipy.spatial import cKDTree

    shapes = [source.expression[BLENDSHAPE_INDEX[name]] for name in ("jawOpen", "mouthRollUpper", "browInnerUp")]
    blink = source.expression[BLENDSHAPE_INDEX["eyeBlinkLeft"]] + source.expression[BLENDSHAPE_INDEX["eyeBlinkRight"]]
    feature = np.concatenate((source.neutral, *shapes, blink), axis=1)
    flip = np.tile([-1.0, 1.0, 1.0], feature.shape[1] // 3)
    mirror = np.arange(len(feature))
    groups = np.where(source.parts == Part.EYE_RIGHT, int(Part.EYE_LEFT), source.parts)
    for part in np.unique(groups[groups >= 0]):
        members = np.flatnonzero(groups == part)
        mirror[members] = members[cKDTree(feature[members]).query(feature[members] * flip)[1]]
    return _settled(mirror, feature, feature * flip)


def _settled(mirror: np.ndarray, feature: np.ndarray, flipped: np.ndarray) -> np.ndarray:
    """Pair the few vertices whose nearest image has another partner, at the least total distance."""
    from scipy.optimize import linear_sum_assignment

    left = np.flatnonzero(mirror[mirror] != np.arange(len(mirror)))
    distance = np.linalg.norm(flipped[left][:, None] - feature[left][None], axis=-1)
    rows, columns = linear_sum_assignment(distance + distance.T)
    mirror[left[rows]] = left[columns]
    return mirror


def _with_tongue(source: SourceHead, mirror: np.ndarray) -> np.ndarray:
    """Tell the tongue from the gums: what moves with the jaw and lies inside the arch of the lower teeth."""
    from scipy.spatial import cKDTree

    follows = np.linalg.norm(source.expression[BLENDSHAPE_INDEX["jawOpen"]], axis=1)
    lower_teeth = source.neutral[(source.parts == Part.TEETH) & (follows > 0.05)]
    gap, _ = cKDTree(lower_teeth).query(source.neutral)
    x, y, z = source.neutral.T
    inside = (gap > 0.035) & (y > -0.76) & (z < 0.14) & (z > -0.4) & (abs(x) < 0.17)
    tongue = (source.parts == Part.GUMS) & (follows > 0.12) & inside
    parts = source.parts.copy()
    parts[tongue & tongue[mirror]] = Part.TONGUE
    return parts


def _closed_contour(source: SourceHead, chain: tuple[int, ...]) -> np.ndarray:
    """Vertices of the closed line through ``chain``, along the sides of the source's quads."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    edges, count = source.quad_edges, len(source.neutral)
    length = np.linalg.norm(source.neutral[edges[:, 0]] - source.neutral[edges[:, 1]], axis=1)
    graph = coo_matrix((length, (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr()
    _, before = dijkstra(graph, directed=False, indices=list(chain), return_predecessors=True)
    contour: list[int] = []
    for row, end in enumerate((*chain[1:], chain[0])):
        way = [end]
        while way[-1] != chain[row]:
            way.append(int(before[row, way[-1]]))
        contour.extend(way[:0:-1])
    return np.array(contour)


def _decimate(
    source: SourceHead, parts: np.ndarray, mirror: np.ndarray, margins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial import cKDTree

    poses = [source.neutral]
    for names in POSES:
        poses.append(source.neutral + sum(source.expression[BLENDSHAPE_INDEX[name]] for name in names))
    distance, _ = cKDTree(source.neutral[margins]).query(source.neutral)
    weight = np.array([_IMPORTANCE.get(Part(part), 1.0) if part >= 0 else 1.0 for part in parts])
    weight *= 1.0 + 30.0 * np.exp(-((distance / 0.06) ** 2)) * (parts == Part.FACE)
    weight[margins] = np.inf
    longest = np.array([_LONGEST_EDGE[Part(part)] if part >= 0 else 0.0 for part in parts])
    even = np.stack([(pose + pose[mirror] * [-1, 1, 1]) / 2 for pose in poses])
    return SymmetricDecimator(even, source.triangles, mirror, weight, longest).run(TARGET_VERTICES)
