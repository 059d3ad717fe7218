"""The smooth displacement that makes the fitted head meet the landmarks."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..portrait.blendshapes import BLENDSHAPE_INDEX
from ..smoothstep import smoothstep
from ..spline import solve_spline
from .gauss_newton import Problem, State, residuals
from .landmark_model import LandmarkModel
from .model import HeadModel
from .parts import RIGID_PIECES

REACH = 0.6
"""Distance from the nearest landmark, in units of 10 cm, at which the displacement has faded to nothing."""
SMOOTHING = 2e-4
_TELL_APART = (("jawOpen", 0.6), ("eyeBlinkLeft", 0.6), ("eyeBlinkRight", 0.6))
"""Movements that part what touches: a lower lip is far from an upper one by how it follows the jaw."""


def surface_offsets(model: HeadModel, reduced: LandmarkModel, problem: Problem, state: State) -> Float[Tensor, "v 3"]:
    """Spread the landmarks' residuals, lifted at their own depth, over the head: canonical displacements.

    A spline over the neutral face carries them between the landmarks and fades with the distance from the nearest
    one. Eyeballs, and teeth with gums, move as rigid pieces.
    """
    lifted = lifted_miss(problem, state)
    identity = torch.from_numpy(state.identity).float()
    vertices = model.neutral(identity).double().cpu().numpy()
    shapes = [(gain, BLENDSHAPE_INDEX[name]) for name, gain in _TELL_APART]
    movements = [gain * reduced.expression_basis[index] for gain, index in shapes]
    anchors = np.concatenate((reduced.neutral(state.identity)[0], *movements), axis=1)[:468]
    basis = model.expression_basis.double().cpu().numpy()
    places = np.concatenate((vertices, *(gain * basis[index] for gain, index in shapes)), axis=1)
    offsets = spread(anchors, lifted, places)
    make_rigid(offsets, model.parts.cpu().numpy())
    return torch.from_numpy(offsets).float()


def lifted_miss(problem: Problem, state: State) -> np.ndarray:
    """Return how far the seen landmarks [468, 3] lie from the fitted ones at the depth of these, canonical."""
    miss = residuals(problem, state)[:468]
    turned = problem.points(state)[:468] @ state.rotation.T + state.translation
    return np.concatenate((-miss * turned[:, 2:] / problem.focal, np.zeros((468, 1))), axis=1) @ state.rotation


def make_rigid(offsets: np.ndarray, parts: np.ndarray) -> None:
    """Give all vertices of a rigid piece the mean of their ``offsets`` [V] or [V, 3], in place."""
    for group in RIGID_PIECES:
        members = np.isin(parts, [int(part) for part in group])
        offsets[members] = offsets[members].mean(axis=0)


def spread(anchors: np.ndarray, values: np.ndarray, points: np.ndarray, *, smoothing: float = SMOOTHING) -> np.ndarray:
    """Interpolate ``values`` [N, 3] at ``anchors`` [N, D] smoothly to ``points`` [M, D], fading out towards `REACH`.

    ``smoothing`` says how far the values may be missed for a flatter result; 0 meets them. The spline of kernel ``-r``
    (see `solve_spline`), its affine map in the first three coordinates.
    """
    lines = np.concatenate((np.ones((len(anchors), 1)), anchors[:, :3]), axis=1)
    stiffness = smoothing * len(anchors)
    weights, slopes = solve_spline(_distances(anchors, anchors), lines, values, stiffness)
    weights, slopes = weights.astype(np.float32), slopes.astype(np.float32)
    offsets = np.zeros((len(points), 3))
    low, high = anchors[:, :3].min(axis=0) - REACH, anchors[:, :3].max(axis=0) + REACH
    near = np.flatnonzero(((points[:, :3] > low) & (points[:, :3] < high)).all(axis=1))
    for rows in np.array_split(near, max(len(near) // 1024, 1)):  # pieces that stay in the processor's cache
        reach = _distances(points[rows].astype(np.float32), anchors.astype(np.float32))
        fade = smoothstep(1.0 - reach.min(axis=1) / REACH, 0.0, 1.0)
        affine = slopes[0] + points[rows, :3].astype(np.float32) @ slopes[1:]
        offsets[rows] = (reach @ weights + affine) * fade[:, None]
    return offsets


def _distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return all distances [M, N], by one matrix product."""
    squares = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None] - 2.0 * points @ others.T
    return np.sqrt(np.maximum(squares, 0.0))
