"""The mean head's depth under the landmarks, which one picture cannot tell and heads that turn can.

Where a landmark network places its points on real faces is measured in the picture's plane by `head_model_refine`;
along the line of sight a mean residual says nothing. In a clip of a turning head it does: a point whose depth is wrong
drifts against its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..head.camera import Camera
from ..head.fit import make_problem
from ..head.gauss_newton import first_state, residuals, solve
from ..head.landmark_model import LandmarkModel
from ..head.observation import eye_distance
from ..head.offsets import lifted_miss, make_rigid, spread
from ..head.parts import Part
from ..portrait.face_mesh import mirror_indices
from .head_model_landmarks import LID_LEFT_LOWER, LID_LEFT_UPPER, LID_RIGHT_LOWER, LID_RIGHT_UPPER

DEPTHS_FILE = Path(__file__).parent / "landmark_depths.csv"
"""How far the mean head under each landmark lies before the source's, as found by `measured_depths`."""
LIDS = (*LID_LEFT_UPPER, *LID_LEFT_LOWER, *LID_RIGHT_UPPER, *LID_RIGHT_LOWER)
"""Lids and corners of the eyes move together, or they would part from the eyeball."""
SMOOTHING = 5e-4
RIDGE = 0.15
"""Share of a median landmark's evidence that speaks for no correction."""
OUTLIER = 0.015
"""Residual over the eye distance beyond which a landmark pulls no harder."""
_EYES = (Part.EYE_LEFT, Part.EYE_RIGHT)


@dataclass(frozen=True)
class Views:
    """One person from several sides: a first view, and others turned away from it."""

    landmarks: np.ndarray  # [N, 478, 3], pixels of a 512 crop
    blendshapes: np.ndarray  # [N, 52]


def read_depths() -> np.ndarray:
    """Return the measured depths [468], canonical z."""
    return np.loadtxt(DEPTHS_FILE)


def displace(fields: dict[str, np.ndarray], depths: np.ndarray) -> None:
    """Move the mean head along z by ``depths`` [468] at its landmarks and smoothly between them, in place.

    Eyes move as a whole, as do teeth with gums; the origin stays between the eyes.
    """
    places = (fields["mean"][fields["landmark_vertices"]] * fields["landmark_weights"][..., None]).sum(axis=1)[:468]
    along = with_steady_eyes(depths)
    values = np.stack((np.zeros(468), np.zeros(468), along), axis=1)
    moved = spread(places, values, fields["mean"], smoothing=SMOOTHING)[:, 2]
    parts = fields["parts"]
    make_rigid(moved, parts)
    eyes = np.array([moved[parts == int(part)].mean() for part in _EYES])
    fields["mean"] = fields["mean"] + (moved - eyes.mean())[:, None] * [0.0, 0.0, 1.0]
    fields["eye_mean"] = fields["eye_mean"] + (eyes - eyes.mean())[:, None] * [0.0, 0.0, 1.0]


def mean_before(fields: dict[str, np.ndarray], depths: np.ndarray) -> np.ndarray:
    """Return the mean head [V, 3] of which `displace` by ``depths`` [468] made that of ``fields``.

    Found by a fixed point, since the depths are spread between places that they move themselves.
    """
    shipped = fields["mean"].astype(np.float64)
    mean = shipped
    for _ in range(3):
        moved = {**fields, "mean": mean}
        displace(moved, depths)
        mean = mean + shipped - moved["mean"]
    return mean


def with_steady_eyes(depths: np.ndarray) -> np.ndarray:
    """Return ``depths`` [468] with their mean at all landmarks of the lids."""
    steady = depths.copy()
    steady[list(LIDS)] = depths[list(LIDS)].mean()
    return steady


def measured_depths(model: LandmarkModel, people: Sequence[Views], rounds: int = 4) -> np.ndarray:
    """Return by how much [468] the landmarks of the mean head have to move along canonical z.

    Every person's head is fitted to the first view and made to meet it exactly. In the other views only pose and
    expression are free, and what residual a landmark has left is laid to its depth in the first view. Both halves of
    the face share what they learn.
    """
    depths = np.zeros(468)
    mirror = mirror_indices()[:468]
    for _ in range(rounds):
        pull, weight = np.zeros(468), np.zeros(468)
        for views in people:
            for one_pull, one_weight in _evidence(model, views, depths):
                pull, weight = pull + one_pull, weight + one_weight
        pull, weight = pull + pull[mirror], weight + weight[mirror]
        depths = depths + pull / (weight + RIDGE * np.median(weight))
    return depths


def _evidence(model: LandmarkModel, views: Views, depths: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return gradient and Hessian [468] of every further view by the depths of the landmarks in the first."""
    camera = Camera.for_crop()
    offset = np.zeros((478, 3))
    offset[:468, 2] = depths
    first = replace(make_problem(model, views.landmarks[0], views.blendshapes[0], camera), offset=offset)
    none = np.zeros(len(model.identity_basis))
    person = solve(first, first_state(first, views.landmarks[0], none), with_identity=True, steps=12)
    seen = (first.points(person) @ person.rotation.T + person.translation)[:468]
    offset[:468] += lifted_miss(first, person)
    forward = -(seen / seen[:, 2:]) @ person.rotation  # towards the viewer, along the line of sight
    found = []
    for landmarks, blendshapes in zip(views.landmarks[1:], views.blendshapes[1:], strict=True):
        problem = replace(make_problem(model, landmarks, blendshapes, camera), offset=offset)
        state = solve(problem, first_state(problem, landmarks, person.identity), with_identity=False, steps=12)
        points = (problem.points(state) @ state.rotation.T + state.translation)[:468]
        found.append(_pull(residuals(problem, state)[:468], points, forward @ state.rotation.T, landmarks))
    return found


def _pull(
    miss: np.ndarray, points: np.ndarray, direction: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Newton terms [468] of landmarks at camera ``points`` that may slide along ``direction``; up to scale."""
    slope = (direction[:, :2] - points[:, :2] / points[:, 2:] * direction[:, 2:]) / points[:, 2:]
    size = eye_distance(landmarks)
    slope, miss = slope * Camera.for_crop().focal / size, miss / size
    trust = np.minimum(1.0, OUTLIER / np.maximum(np.linalg.norm(miss, axis=1), 1e-9))
    return -(slope * miss).sum(axis=1) * trust, (slope**2).sum(axis=1) * trust
