"""Which point of the head each of the 478 face mesh landmarks is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..head.parts import Part
from ..portrait.blendshapes import BLENDSHAPE_INDEX
from ..portrait.face_mesh import mirror_indices

ANCHORS_FILE = Path(__file__).parent / "landmark_anchors.csv"
"""Where the landmarks lie on the mean head, as measured by `head_model_refine`."""
LID_RIGHT_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LID_RIGHT_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
LID_LEFT_UPPER = (263, 466, 388, 387, 386, 385, 384, 398, 362)
LID_LEFT_LOWER = (263, 249, 390, 373, 374, 380, 381, 382, 362)
LIP_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LIP_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LOWER_LIP_RINGS = (
    146, 91, 181, 84, 17, 314, 405, 321, 375, 77, 90, 180, 85, 16, 315, 404, 320, 307,
    96, 89, 179, 86, 15, 316, 403, 319, 325,
)  # fmt: skip
UPPER_LIP_RINGS = (
    185, 40, 39, 37, 0, 267, 269, 270, 409, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    42, 41, 38, 12, 268, 271, 272, 407,
)  # fmt: skip
IRIS_RIGHT = range(468, 473)
IRIS_LEFT = range(473, 478)
IRIS_RADIUS = 0.0585
"""Radius of the human iris, which hardly differs between people: 5.85 mm."""


def bind_landmarks(fields: dict[str, np.ndarray], anchors: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return corners [478, 3] and barycentric weights [478, 3] of all landmarks on the mean head.

    ``anchors`` [468, 3]: canonical points close to where the landmarks lie; by default those measured on portraits.
    """
    points = read_anchors() if anchors is None else anchors
    mirror = mirror_indices()
    points = (points + points[mirror[:468]] * [-1, 1, 1]) / 2
    corners, weights = np.zeros((478, 3), dtype=np.int64), np.zeros((478, 3))
    skin = _skin_triangles(fields)
    lower = moves_with_jaw(fields)
    for side, rows in ((skin, _other_landmarks()), (skin[lower[skin].all(axis=1)], LOWER_LIP_RINGS),
                       (skin[~lower[skin].any(axis=1)], UPPER_LIP_RINGS)):  # fmt: skip
        chosen = np.array(rows)
        middle = mirror[chosen] == chosen
        for group, surface in ((chosen[~middle], side), (chosen[middle], _seam(fields, side))):
            corners[group], weights[group] = closest_on_triangles(points[group], fields["mean"], surface)
    for rows, contour in contours(fields):
        corners[list(rows)], weights[list(rows)] = closest_on_contour(points[list(rows)], fields["mean"], contour)
    for rows, part in ((IRIS_LEFT, Part.EYE_LEFT), (IRIS_RIGHT, Part.EYE_RIGHT)):
        corners[rows.start : rows.stop], weights[rows.start : rows.stop] = _bind_iris(fields, part)
    right = np.flatnonzero(mirror > np.arange(478))  # the left half takes over what the right half found
    corners[mirror[right]], weights[mirror[right]] = fields["mirror"][corners[right]], weights[right]
    return corners, weights


def read_anchors() -> np.ndarray:
    """Return the measured anchors [468, 3]."""
    return np.loadtxt(ANCHORS_FILE, delimiter=",")


def contours(fields: dict[str, np.ndarray]) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """Return landmarks on the margins of lips and lids with the stretch of margin (vertices in order) they lie on."""
    mean = fields["mean"]
    found = []
    for name, upper, lower in (
        ("inner_lip", LIP_UPPER, LIP_LOWER),
        ("eyelid_left", LID_LEFT_UPPER, LID_LEFT_LOWER),
        ("eyelid_right", LID_RIGHT_UPPER, LID_RIGHT_LOWER),
    ):
        loop = fields[name]
        far = int(abs(mean[loop, 0] - mean[loop[0], 0]).argmax())
        found += [(upper, loop[: far + 1]), (lower[1:-1], np.append(loop[far:], loop[0]))]
    return found


def _other_landmarks() -> list[int]:
    """Landmarks that may lie anywhere on the skin."""
    bound = {*LID_LEFT_UPPER, *LID_LEFT_LOWER, *LID_RIGHT_UPPER, *LID_RIGHT_LOWER, *LIP_UPPER, *LIP_LOWER}
    return [index for index in range(468) if index not in bound | {*LOWER_LIP_RINGS, *UPPER_LIP_RINGS}]


def _skin_triangles(fields: dict[str, np.ndarray]) -> np.ndarray:
    """Triangles of the face that look outwards: not those inside nostrils, lids and lips."""
    mean, triangles = fields["mean"], fields["triangles"]
    corners = mean[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    outwards = corners.mean(axis=1) * [1.0, 0.5, 1.0] + [0.0, 0.0, 0.6]
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    facing = (normal * outwards).sum(axis=1) > 0.05
    return triangles[(fields["parts"][triangles] == Part.FACE).all(axis=1) & facing]


def _seam(fields: dict[str, np.ndarray], triangles: np.ndarray) -> np.ndarray:
    """Return the triangles' sides in the plane of symmetry, as flat triangles: where landmarks of the midline lie."""
    middle = fields["mirror"][triangles] == triangles
    sides = [triangles[middle[:, a] & middle[:, b]][:, [a, b, b]] for a, b in ((0, 1), (1, 2), (2, 0))]
    return np.concatenate(sides)


def moves_with_jaw(fields: dict[str, np.ndarray]) -> np.ndarray:
    """Tell the lower lip from the upper one: it follows the jaw."""
    drop = -fields["expression_basis"][BLENDSHAPE_INDEX["jawOpen"], :, 1]
    return drop > 0.5 * drop[fields["inner_lip"]].max()


def closest_on_triangles(
    points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners and barycentric weights of the surface point closest to each of ``points`` [N, 3]."""
    corners = vertices[triangles]
    near = np.linalg.norm(points[:, None] - corners.mean(axis=1)[None], axis=-1)
    candidates = np.argsort(near, axis=1, kind="stable")[:, :48]
    weights = closest_weights(points[:, None], corners[candidates])  # [N, 48, 3]
    places = (weights[..., None] * corners[candidates]).sum(axis=2)
    best = np.linalg.norm(places - points[:, None], axis=-1).argmin(axis=1)
    rows = np.arange(len(points))
    return triangles[candidates[rows, best]], weights[rows, best]


def closest_weights(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric weights [..., 3] of the point of a triangle [..., 3, 3] closest to a point [..., 3]."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    u, v, w = b - a, c - a, points - a
    uu, uv, vv, uw, vw = ((x * y).sum(-1) for x, y in ((u, u), (u, v), (v, v), (u, w), (v, w)))
    area = np.maximum(uu * vv - uv * uv, 1e-18)
    inside = np.stack(((vv * uw - uv * vw) / area, (uu * vw - uv * uw) / area), axis=-1)
    inside = np.concatenate((1 - inside.sum(-1, keepdims=True), inside), axis=-1)
    options = [inside] + [_on_side(points, corners, i, (i + 1) % 3) for i in range(3)]
    options[1:] = [np.clip(option, 0, 1) for option in options[1:]]
    stacked = np.stack(options)
    places = (stacked[..., None] * corners).sum(axis=-2)
    distance = np.linalg.norm(places - points, axis=-1)
    distance[0] = np.where((inside < 0).any(axis=-1), np.inf, distance[0])
    best = distance.argmin(axis=0)
    return np.take_along_axis(stacked, best[None, ..., None], axis=0)[0]


def _on_side(points: np.ndarray, corners: np.ndarray, start: int, end: int) -> np.ndarray:
    """Weights of the point of a triangle's side closest to a point."""
    along = corners[..., end, :] - corners[..., start, :]
    share = ((points - corners[..., start, :]) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-18)
    weights = np.zeros((*share.shape, 3))
    weights[..., end] = np.clip(share, 0, 1)
    weights[..., start] = 1 - weights[..., end]
    return weights


def closest_on_contour(points: np.ndarray, vertices: np.ndarray, contour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return corners (the last twice) and weights of the point of an open line of vertices closest to each point."""
    start, end = vertices[contour[:-1]], vertices[contour[1:]]
    along = end - start
    share = ((points[:, None] - start) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-18)
    share = np.clip(share, 0, 1)
    best = np.linalg.norm(start + share[..., None] * along - points[:, None], axis=-1).argmin(axis=1)
    share = share[np.arange(len(points)), best]
    corners = np.stack((contour[best], contour[best + 1], contour[best + 1]), axis=1)
    return corners, np.stack((1 - share, share, np.zeros_like(share)), axis=1)


def _bind_iris(fields: dict[str, np.ndarray], part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Bind the centre of the iris and four points of its rim to the eyeball, looking along +z."""
    center = fields["eye_mean"][0 if part == Part.EYE_LEFT else 1]
    triangles = fields["triangles"]
    front = triangles[(fields["parts"][triangles] == part).all(axis=1)]
    front = front[fields["mean"][front][..., 2].min(axis=1) > center[2]]
    right, up = np.array([-1.0, 0.0]), np.array([0.0, 1.0])
    rim = np.stack((right * 0, -right, up, right, -up)) * IRIS_RADIUS
    depth = fields["mean"][front][..., 2].max()
    points = np.concatenate((center[:2] + rim, np.full((5, 1), depth)), axis=1)
    return closest_on_triangles(points, fields["mean"], front)
