"""Measuring where on the head the face mesh landmarks lie, from pictures of many people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from ..head.camera import Camera
from ..head.gauss_newton import Problem, first_state, solve
from ..head.landmark_model import LandmarkModel
from ..head.model import HeadModel
from ..head.offsets import lifted_miss
from ..head.prior import ExpressionPrior
from ..portrait.face_mesh import mirror_indices
from .head_model_landmarks import bind_landmarks

STEP = 0.8
"""Share of the mean residual by which a round moves each landmark."""
LARGEST_MOVE = 0.06


def refined_anchors(
    model: HeadModel, faces: Iterable[tuple[np.ndarray, np.ndarray]], rounds: int = 3
) -> tuple[np.ndarray, HeadModel]:
    """Return anchors [468, 3] moved by the mean residual of fits to ``faces``, and the model bound to them.

    ``faces``: landmarks [478, 3] in pixels of a 512 crop with blendshapes [52]. The left and the right half share
    what they learn, so that the result is symmetric.
    """
    faces = list(faces)
    fields = {name: value.cpu().numpy() for name, value in vars(model).items()}
    fields["mean"] = fields["mean"].astype(np.float64)
    anchors = LandmarkModel.of(model).mean[:468]
    for _ in range(rounds):
        anchors = anchors + STEP * _mean_miss(LandmarkModel.of(model), faces)
        corners, weights = bind_landmarks(fields, anchors)
        model = replace(
            model, landmark_vertices=torch.from_numpy(corners), landmark_weights=torch.from_numpy(weights).float()
        )
        anchors = LandmarkModel.of(model).mean[:468]
    return anchors, model


def _mean_miss(model: LandmarkModel, faces: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return how far, in the mean over ``faces``, the detected landmarks lie from the model's, canonical."""
    camera = Camera.for_crop()
    total = np.zeros((468, 3))
    for landmarks, blendshapes in faces:
        prior = ExpressionPrior.around(blendshapes)
        problem = Problem.of(model, landmarks, prior, camera.focal, camera.center)
        start = first_state(problem, landmarks, np.zeros(len(model.identity_basis)))
        miss = lifted_miss(problem, solve(problem, start, with_identity=True, steps=10))
        total += np.clip(miss, -LARGEST_MOVE, LARGEST_MOVE)
    mirror = mirror_indices()[:468]
    mean = total / len(faces)
    return (mean + mean[mirror] * [-1, 1, 1]) / 2
