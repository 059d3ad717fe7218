"""The head model at the 478 face mesh landmarks alone: what the fits work with (numpy, float64)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from .model import HeadModel

IRIS_LEFT = slice(473, 478)
IRIS_RIGHT = slice(468, 473)
IRISES = (IRIS_LEFT, IRIS_RIGHT)
"""In the order of the gaze: left, right."""


@dataclass(frozen=True)
class LandmarkModel:
    """Mean and modes of the landmarks, canonical space, with the eyeballs looking straight ahead."""

    mean: np.ndarray  # [478, 3]
    identity_basis: np.ndarray  # [K, 478, 3]
    expression_basis: np.ndarray  # [52, 478, 3]
    eye_mean: np.ndarray  # [2, 3]
    eye_basis: np.ndarray  # [K, 2, 3]

    @classmethod
    def of(cls, model: HeadModel) -> Self:
        """Restrict ``model`` to the landmarks."""
        corners, weights = model.landmark_vertices.cpu().numpy(), model.landmark_weights.double().cpu().numpy()

        def restrict(modes: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(np.einsum("...lkc,lk->...lc", modes[..., corners, :], weights))

        modes = (model.mean, model.identity_basis, model.expression_basis)
        eyes = (model.eye_mean, model.eye_basis)
        return cls(
            *(restrict(mode.cpu().numpy().astype(np.float64)) for mode in modes),
            *(eye.cpu().numpy().astype(np.float64) for eye in eyes),
        )

    def neutral(self, identity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return landmarks [478, 3] and eyeball centres [2, 3] of one person at rest."""
        return self.mean + _blend(identity, self.identity_basis), self.eye_mean + _blend(identity, self.eye_basis)

    def points(self, identity: np.ndarray, beta: np.ndarray, gaze: np.ndarray) -> np.ndarray:
        """Return the landmarks [478, 3] with expression ``beta`` [52] and ``gaze`` [4]."""
        neutral, centers = self.neutral(identity)
        points = neutral + _blend(beta, self.expression_basis)
        for eye, center, (yaw, pitch) in zip(IRISES, centers, gaze.reshape(2, 2), strict=True):
            points[eye] = (points[eye] - center) @ gaze_rotation(yaw, pitch)[0].T + center
        return points

    def identity_jacobian(self, gaze: np.ndarray) -> np.ndarray:
        """Return the derivative of `points` by identity, [K, 478, 3]."""
        jacobian = self.identity_basis.copy()
        for index, (eye, (yaw, pitch)) in enumerate(zip(IRISES, gaze.reshape(2, 2), strict=True)):
            center = self.eye_basis[:, index, None]
            jacobian[:, eye] = (jacobian[:, eye] - center) @ gaze_rotation(yaw, pitch)[0].T + center
        return jacobian

    def gaze_jacobian(self, identity: np.ndarray, gaze: np.ndarray) -> np.ndarray:
        """Return the derivative of `points` by gaze, [4, 478, 3]."""
        neutral, centers = self.neutral(identity)
        jacobian = np.zeros((4, *neutral.shape))
        for index, (eye, (yaw, pitch)) in enumerate(zip(IRISES, gaze.reshape(2, 2), strict=True)):
            arm = neutral[eye] - centers[index]
            _, by_yaw, by_pitch = gaze_rotation(yaw, pitch)
            jacobian[2 * index, eye], jacobian[2 * index + 1, eye] = arm @ by_yaw.T, arm @ by_pitch.T
        return jacobian


def _blend(coefficients: np.ndarray, modes: np.ndarray) -> np.ndarray:
    return (coefficients @ modes.reshape(len(modes), -1)).reshape(modes.shape[1:])


def gaze_rotation(yaw: float, pitch: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rotation of an eyeball, its derivative by yaw and its derivative by pitch."""
    sin_yaw, cos_yaw, sin_pitch, cos_pitch = np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)
    turn = np.array([[cos_yaw, 0, sin_yaw], [0, 1, 0], [-sin_yaw, 0, cos_yaw]])
    nod = np.array([[1, 0, 0], [0, cos_pitch, sin_pitch], [0, -sin_pitch, cos_pitch]])
    turn_by_yaw = np.array([[-sin_yaw, 0, cos_yaw], [0, 0, 0], [-cos_yaw, 0, -sin_yaw]])
    nod_by_pitch = np.array([[0, 0, 0], [0, -sin_pitch, cos_pitch], [0, -cos_pitch, -sin_pitch]])
    return turn @ nod, turn_by_yaw @ nod, turn @ nod_by_pitch
