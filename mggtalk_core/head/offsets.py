"""The smooth displacement that makes the fitted head meet the landmarks."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .gauss_newton import Problem, State, residuals
from .landmark_model import LandmarkModel
from .model import HeadModel
from .parts import Part

REACH = 0.6
"""Distance from the nearest landmark, in units of 10 cm, at which the displacement has faded to nothing."""
SMOOTHING = 1e-3
_RIGID = ((Part.TEETH, Part.GUMS), (Part.EYE_LEFT,), (Part.EYE_RIGHT,))


def surface_offsets(
    model: HeadModel, reduced: LandmarkModel, problem: Problem, state: State
) -> Float[Tensor, "v 3"]:
    """Spread the landmarks' residuals, lifted at their own depth, over the head: canonical displacements.

    A thin-plate spline over the neutral face carries them between the landmarks and fades with the distance from the
    nearest one. Eyeballs, and teeth with gums, move as rigid pieces.
    """
    miss = residuals(problem, state)[:468]
    turned = problem.points(state)[:468] @ state.rotation.T + state.translation
    lifted = np.concatenate((-miss * turned[:, 2:] / problem.focal, np.zeros((468, 1))), axis=1) @ state.rotation
    anchors = reduced.neutral(state.identity)[0][:468]
    identity = torch.from_numpy(state.identity).float()
    vertices = model.neutral(identity).double().cpu().numpy()
    offsets = spread(anchors, lifted, vertices)
    parts = model.parts.cpu().numpy()
    for group in _RIGID:
        members = np.isin(parts, [int(part) for part in group])
        offsets[members] = offsets[members].mean(axis=0)
    return torch.from_numpy(offsets).float()


def spread(anchors: np.ndarray, values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Interpolate ``values`` at ``anchors`` [N, 3] smoothly to ``points`` [M, 3], fading out beyond `REACH`."""
    from scipy.spatial import cKDTree

    kernel = np.linalg.norm(anchors[:, None] - anchors[None], axis=-1)
    lines = np.concatenate((np.ones((len(anchors), 1)), anchors), axis=1)
    system = np.block([[kernel - SMOOTHING * len(anchors) * np.eye(len(anchors)), lines], [lines.T, np.zeros((4, 4))]])
    solution = np.linalg.solve(system, np.concatenate((values, np.zeros((4, 3)))))
    distance, _ = cKDTree(anchors).query(points, distance_upper_bound=REACH)
    near = np.isfinite(distance)
    fade = np.clip(1.0 - distance[near] / REACH, 0.0, 1.0)
    fade = fade * fade * (3.0 - 2.0 * fade)
    reach = np.linalg.norm(points[near][:, None] - anchors[None], axis=-1)
    smooth = reach @ solution[:-4] + np.concatenate((np.ones((near.sum(), 1)), points[near]), axis=1) @ solution[-4:]
    spread_values = np.zeros((len(points), 3))
    spread_values[near] = smooth * fade[:, None]
    return spread_values
