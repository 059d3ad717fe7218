"""Measuring where on the head the face mesh landmarks lie, from rendered heads, whose every pixel has a known place."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ..geometry.interior import vertex_normals
from ..head.zbuffer import interpolate, rasterize_mesh
from ..portrait.face_mesh import mirror_indices
from ..studio.rendered_heads import HeadStudio, RenderedHead

FINE = 4
"""Pixels per pixel of the crop along each axis: landmarks are read to a quarter of a pixel."""
FLATTEST, STEEPEST = 0.3, 0.7
"""Cosine to the line of sight from which a surface shows its landmarks, and at which it counts in full."""
NEAR = 0.03
"""Distance from the mean beyond which a reading pulls no harder (3 mm)."""
SURE, UNSURE = 0.04, 0.06
"""Spread of a landmark up to which the mean is taken, and from which the anchor stays: outlines slide over the skin."""
LEAST_READINGS = 4.0
_ROUNDS = 10


def drawn_anchors(
    anchors: np.ndarray,
    studio: HeadStudio,
    heads: Iterable[tuple[RenderedHead, Float[Tensor, "478 3"], Float[Tensor, "2 3"]]],
) -> np.ndarray:
    """Return ``anchors`` [468, 3] moved to where rendered heads show the landmarks, canonical.

    ``heads``: each with the landmarks detected in its 512 crop, and the transform from its picture to the crop. The
    halves of the face share what they learn. A landmark that wanders over the skin from head to head stays.
    """
    read = [_readings(studio, *head) for head in heads]
    places, trust = (np.stack(values) for values in zip(*read, strict=True))
    mirror = mirror_indices()[:468]
    places = np.concatenate((places, places[:, mirror] * [-1.0, 1.0, 1.0]))
    trust = np.concatenate((trust, trust[:, mirror]))
    moved = anchors.copy()
    for index in np.flatnonzero(trust.sum(axis=0) > LEAST_READINGS):
        mean, spread = _robust_mean(places[:, index], trust[:, index])
        share = np.clip((UNSURE - spread) / (UNSURE - SURE), 0.0, 1.0)
        moved[index] += share * (mean - moved[index])
    return moved


def _readings(
    studio: HeadStudio, head: RenderedHead, landmarks: Float[Tensor, "478 3"], to_crop: Float[Tensor, "2 3"]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the place [468, 3] on the source's mean head that each landmark covers, and the trust [468] in it."""
    pixels = head.camera.project(head.vertices)
    pixels[:, :2] = (pixels[:, :2] @ to_crop[:, :2].T.to(pixels) + to_crop[:, 2].to(pixels)) * FINE
    size = 512 * FINE
    _, triangle, barycentric = rasterize_mesh(pixels, head.triangles, size, size)
    normals = vertex_normals(head.vertices, head.triangles) @ head.camera.rotation.T
    maps = [
        interpolate(values, head.triangles, triangle, barycentric)
        for values in (studio.at_rest(head.root), normals, (~studio.is_skin(head.root)).float()[:, None])
    ]
    x, y = ((landmarks[:468, axis] * FINE).long().clamp(0, size - 1) for axis in (0, 1))
    place, normal, other = (values[:, y, x].T.double().numpy() for values in maps)
    facing = -normal[:, 2] / np.maximum(np.linalg.norm(normal, axis=1), 1e-9)
    trust = np.clip((facing - FLATTEST) / (STEEPEST - FLATTEST), 0.0, 1.0)
    return place, trust * ((triangle[y, x] >= 0).numpy() & (other[:, 0] < 0.5))


def _robust_mean(places: np.ndarray, trust: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the Huber mean of ``places`` [N, 3] and the root of the mean square distance to it."""
    weight = trust
    for _ in range(_ROUNDS):
        mean = np.average(places, axis=0, weights=weight)
        distance = np.linalg.norm(places - mean, axis=1)
        weight = trust * np.minimum(1.0, NEAR / np.maximum(distance, 1e-9))
    return mean, float(np.sqrt(np.average(distance**2, weights=weight)))
