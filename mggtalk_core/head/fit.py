"""`fit_head`: the parametric head behind the landmarks of one picture."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..parallel import one_thread
from .camera import Camera
from .gauss_newton import Problem, first_state, residuals, solve
from .head_fit import HeadFit
from .landmark_model import LandmarkModel
from .model import HeadModel
from .offsets import surface_offsets
from .prior import ExpressionPrior


@one_thread()
def fit_head(
    model: HeadModel, landmarks: Float[Tensor, "478 3"], blendshapes: Float[Tensor, "52"], camera: Camera | None = None
) -> HeadFit:
    """Fit identity, expression, gaze and pose to the landmarks of one picture.

    ``landmarks`` are pixels of ``camera``'s picture (the 512 crop by default), ``blendshapes`` the network's guess of
    the expression, used as a prior so that coefficients stay meaningful as well as precise. Deterministic.
    """
    camera = camera or Camera.for_crop()
    seen = landmarks.double().cpu().numpy()
    reduced = LandmarkModel.of(model)
    problem = make_problem(reduced, seen, blendshapes.double().cpu().numpy(), camera)
    state = solve(problem, first_state(problem, seen, np.zeros(model.modes)), with_identity=True, steps=12)
    miss = residuals(problem, state)
    return HeadFit(
        identity=_tensor(state.identity),
        beta_s=_tensor(state.beta),
        gaze=_tensor(state.gaze),
        camera=camera.posed(_tensor(state.rotation), _tensor(state.translation)),
        offsets=surface_offsets(model, reduced, problem, state),
        residual=float(np.linalg.norm(miss, axis=1).mean()),
    )


def make_problem(model: LandmarkModel, landmarks: np.ndarray, blendshapes: np.ndarray, camera: Camera) -> Problem:
    """Return what has to be solved for landmarks [478, 3] and blendshapes [52] of one picture."""
    return Problem.of(model, landmarks, ExpressionPrior.around(blendshapes), camera.focal, camera.center)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()
