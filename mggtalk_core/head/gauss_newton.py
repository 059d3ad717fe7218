"""Bounded, robust Gauss-Newton of pose, gaze, expression and identity against landmarks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .landmark_model import LandmarkModel
from .observation import OPENINGS, eye_distance, visible_weights, with_closed_lids
from .pose import guess_pose, rotation_matrix
from .prior import IDENTITY_SPREAD, ExpressionPrior, gaze_hessian
from .solver import bounded_step

POSE, GAZE, BETA = slice(0, 6), slice(6, 10), slice(10, 62)
IDENTITY_START = 62
"""Order of the unknowns: rotation vector and translation, gaze, expression, identity."""
NOISE = 0.010
"""Standard deviation of a landmark, relative to the distance of the outer eye corners."""
OPENING_WEIGHT = 3.0
HUBER = 2.5
"""Residuals beyond this many standard deviations pull no harder."""
MAX_GAZE = 0.8


@dataclass(frozen=True)
class State:
    """One head: numpy float64."""

    rotation: np.ndarray  # [3, 3]
    translation: np.ndarray  # [3]
    gaze: np.ndarray  # [4]
    beta: np.ndarray  # [52]
    identity: np.ndarray  # [K]

    def moved(self, step: np.ndarray) -> State:
        """Return the state after ``step`` in the order of the unknowns."""
        identity = self.identity + step[IDENTITY_START:] if len(step) > IDENTITY_START else self.identity
        turn = rotation_matrix(step[:3])
        return State(
            turn @ self.rotation, self.translation + step[3:6], self.gaze + step[GAZE], self.beta + step[BETA], identity
        )


@dataclass(frozen=True)
class Problem:
    """The landmarks of one picture and what else is known about it."""

    model: LandmarkModel
    pixels: np.ndarray  # [478, 2]
    weights: np.ndarray  # [478], one over a standard deviation in pixels
    focal: float
    center: tuple[float, float]
    prior: ExpressionPrior
    steady: ExpressionPrior | None = None
    """A second pull on the expression: that of the frame before."""
    offset: np.ndarray | None = None
    """[478, 3] what the model misses of this person at rest, canonical."""

    @classmethod
    def of(
        cls, model: LandmarkModel, landmarks: np.ndarray, prior: ExpressionPrior, focal: float,
        center: tuple[float, float],
    ) -> Problem:  # fmt: skip
        """Weigh ``landmarks`` [478, 3] by what they are worth."""
        weights = visible_weights(landmarks) / (NOISE * eye_distance(landmarks))
        return cls(model, with_closed_lids(landmarks)[:, :2], weights, focal, center, prior)

    def points(self, state: State) -> np.ndarray:
        """Return the canonical landmarks [478, 3] of a state."""
        points = self.model.points(state.identity, state.beta, state.gaze)
        return points if self.offset is None else points + self.offset


def first_state(problem: Problem, landmarks: np.ndarray, identity: np.ndarray) -> State:
    """Return a state with the network's expression and a pose guessed from the landmarks' own depth."""
    beta, gaze = problem.prior.mean.copy(), np.zeros(4)
    points = problem.model.points(identity, beta, gaze)[:468]
    rotation, translation = guess_pose(points, landmarks[:468], problem.focal, problem.center)
    return State(rotation, translation, gaze, beta, identity)


def residuals(problem: Problem, state: State) -> np.ndarray:
    """Return projected minus detected landmarks in pixels, [478, 2]."""
    return _project(problem, problem.points(state) @ state.rotation.T + state.translation) - problem.pixels


def _project(problem: Problem, camera_points: np.ndarray) -> np.ndarray:
    return problem.focal * camera_points[:, :2] / camera_points[:, 2:] + np.array(problem.center)


def jacobian(problem: Problem, state: State, with_identity: bool) -> np.ndarray:
    """Return the derivative of `residuals` by the unknowns, [N, 478, 2]."""
    model = problem.model
    turned = problem.points(state) @ state.rotation.T
    x, y, z = (turned + state.translation).T
    blocks = [model.gaze_jacobian(state.identity, state.gaze), model.expression_basis]
    if with_identity:
        blocks.append(model.identity_jacobian(state.gaze))
    moved = (np.concatenate(blocks).reshape(-1, 3) @ state.rotation.T).reshape(-1, len(turned), 3)
    # A small turn w moves a point p by w x p; the rows are the cross products of the axes with p.
    axes = np.cross(np.eye(3)[:, None], turned[None])
    shifts = np.broadcast_to(np.eye(3)[:, None], axes.shape)
    moved = np.concatenate((axes, shifts, moved))
    slope = moved[..., :2] - np.stack((x / z, y / z), axis=-1) * moved[..., 2:]
    slope *= (problem.focal / z)[:, None]
    return slope


def normal_equations(problem: Problem, state: State, with_identity: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the Gauss-Newton Hessian and gradient with priors; far landmarks are down-weighted (Huber)."""
    miss = residuals(problem, state)
    slope = jacobian(problem, state, with_identity)
    distance = np.linalg.norm(miss, axis=1) * problem.weights
    robust = problem.weights * np.sqrt(np.minimum(1.0, HUBER / np.maximum(distance, 1e-9)))
    upper, lower = OPENINGS.T
    gap = OPENING_WEIGHT * np.sqrt(problem.weights[upper] * problem.weights[lower])[:, None]
    rows = np.concatenate((miss * robust[:, None], (miss[upper] - miss[lower]) * gap)).reshape(-1)
    slopes = np.concatenate((slope * robust[:, None], (slope[:, upper] - slope[:, lower]) * gap), axis=1)
    slopes = slopes.reshape(len(slope), -1)
    hessian, gradient = slopes @ slopes.T, slopes @ rows
    _add_priors(problem, state, hessian, gradient)
    return hessian, gradient


def _add_priors(problem: Problem, state: State, hessian: np.ndarray, gradient: np.ndarray) -> None:
    diagonal = np.einsum("ii->i", hessian)
    diagonal[POSE] += 1e-6
    hessian[GAZE, GAZE] += gaze_hessian()
    gradient[GAZE] += gaze_hessian() @ state.gaze
    for prior in (problem.prior, problem.steady):
        if prior is not None:
            diagonal[BETA] += prior.precision
            gradient[BETA] += prior.precision * (state.beta - prior.mean)
    diagonal[IDENTITY_START:] += 1.0 / IDENTITY_SPREAD**2
    if len(gradient) > IDENTITY_START:
        gradient[IDENTITY_START:] += state.identity / IDENTITY_SPREAD**2


def solve(problem: Problem, state: State, *, with_identity: bool, steps: int, tolerance: float = 1e-3) -> State:
    """Improve ``state`` by at most ``steps`` Gauss-Newton steps; expression stays in 0..1."""
    for _ in range(steps):
        hessian, gradient = normal_equations(problem, state, with_identity)
        lower, upper = np.full(len(gradient), -np.inf), np.full(len(gradient), np.inf)
        lower[BETA], upper[BETA] = -state.beta, 1.0 - state.beta
        lower[GAZE], upper[GAZE] = -MAX_GAZE - state.gaze, MAX_GAZE - state.gaze
        step = bounded_step(hessian, gradient, lower, upper)
        state = state.moved(step)
        if abs(step).max() < tolerance:
            break
    return replace(state, beta=np.clip(state.beta, 0.0, 1.0))
