"""`track_head`: one head through the frames of a clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..parallel import one_thread
from ..progress import OnStep, ignore_steps
from .camera import Camera
from .fit import make_problem
from .gauss_newton import Problem, State, first_state, residuals, solve
from .head_track import HeadTrack
from .landmark_model import LandmarkModel
from .model import HeadModel
from .observation import EYE_CORNERS
from .offsets import lifted_miss
from .prior import ExpressionPrior, frame_spread

IDENTITY_FRAMES = 8
JUMP = 0.35
"""A face that moved by more than this share of its eye distance since the last frame is fitted from scratch."""


@one_thread()
def track_head(
    model: HeadModel,
    landmarks: Float[Tensor, "t 478 3"],
    blendshapes: Float[Tensor, "t 52"],
    camera: Camera,
    fps: float,
    *,
    identity: Float[Tensor, "k"] | None = None,
    relief: Float[Tensor, "478 3"] | None = None,
    on_step: OnStep = ignore_steps,
) -> HeadTrack:
    """Fit expression, gaze and pose to every frame; the identity is given or found from several frames first.

    ``landmarks`` are pixels of ``camera``'s picture. What the head model misses of the person in the first frame is
    added to it in all of them, and so is ``relief`` (canonical), what is known of its depth otherwise. Every frame
    starts from the one before and is drawn towards its expression, which lowers jitter without delaying blinks and
    lips. Deterministic.

    Raises InputError if there is no frame.
    """
    seen, network = landmarks.double().cpu().numpy(), blendshapes.double().cpu().numpy()
    if len(seen) == 0:
        raise InputError("the clip has no frame with a face: choose a clip that shows one")
    reduced = LandmarkModel.of(model)
    problems = [make_problem(reduced, frame, guess, camera) for frame, guess in zip(seen, network, strict=True)]
    on_step(0, len(seen))
    person = _find_identity(problems, seen) if identity is None else identity.double().cpu().numpy()
    missed = _missed(problems[0], seen[0], person)
    missed = missed if relief is None else missed + relief.double().cpu().numpy()
    problems = [replace(problem, offset=missed) for problem in problems]
    states: list[State] = []
    for index, problem in enumerate(problems):
        before = states[-1] if states and not _jumped(seen[index - 1], seen[index]) else None
        states.append(_follow(problem, seen[index], before, person, fps))
        on_step(index + 1, len(seen))
    return _as_track(problems, states, person)


def _find_identity(problems: list[Problem], seen: np.ndarray) -> np.ndarray:
    """Return the mean identity of frames spread over the clip."""
    chosen = np.unique(np.linspace(0, len(seen) - 1, IDENTITY_FRAMES).round().astype(int))
    none = np.zeros(len(problems[0].model.identity_basis))
    fits = [
        solve(problems[index], first_state(problems[index], seen[index], none), with_identity=True, steps=10)
        for index in chosen
    ]
    return np.mean([fit.identity for fit in fits], axis=0)


def _missed(problem: Problem, seen: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Return what the model misses of this person in one frame, [478, 3]: pose and expression would make up for it."""
    state = solve(problem, first_state(problem, seen, person), with_identity=False, steps=12)
    missed = np.zeros((len(seen), 3))
    missed[:468] = lifted_miss(problem, state)
    return missed


def _follow(problem: Problem, seen: np.ndarray, before: State | None, person: np.ndarray, fps: float) -> State:
    """Fit one frame, from the frame before where there is one."""
    if before is None:
        return solve(problem, first_state(problem, seen, person), with_identity=False, steps=12)
    steady = ExpressionPrior(before.beta, 1.0 / frame_spread(fps) ** 2)
    return solve(replace(problem, steady=steady), before, with_identity=False, steps=4, tolerance=5e-3)


def _jumped(last: np.ndarray, now: np.ndarray) -> bool:
    corners = list(EYE_CORNERS)
    distance = max(float(np.linalg.norm(np.diff(last[corners, :2], axis=0))), 1e-3)
    return float(np.linalg.norm(now[:, :2] - last[:, :2], axis=1).mean()) > JUMP * distance


def _as_track(problems: list[Problem], states: list[State], person: np.ndarray) -> HeadTrack:
    def stacked(values: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(values)).float()

    misses = [residuals(problem, state) for problem, state in zip(problems, states, strict=True)]
    return HeadTrack(
        identity=torch.from_numpy(person).float(),
        beta=stacked([state.beta for state in states]),
        gaze=stacked([state.gaze for state in states]),
        rotation=stacked([state.rotation for state in states]),
        translation=stacked([state.translation for state in states]),
        residual=stacked([np.linalg.norm(miss, axis=1).mean() for miss in misses]),
    )
