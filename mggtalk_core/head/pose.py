"""Rigid poses: rotation vectors, and a first guess of the head's pose."""

from __future__ import annotations

import numpy as np


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Return the rotation by ``|vector|`` radians about ``vector`` [3] (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    cross = cross_matrix(vector)
    if angle < 1e-8:
        return np.eye(3) + cross
    return np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross


def cross_matrix(vector: np.ndarray) -> np.ndarray:
    """Return the matrix that takes the cross product with ``vector`` [3] from the left."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def guess_pose(
    points: np.ndarray, landmarks: np.ndarray, focal: float, center: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation and translation of canonical ``points`` [N, 3] seen as ``landmarks`` [N, 3] (pixels).

    The landmarks' own depth makes it a similarity between two point sets (Umeyama 1991), whose scale is the distance.
    """
    middle, seen_middle = points.mean(axis=0), landmarks.mean(axis=0)
    centred, seen = points - middle, landmarks - seen_middle
    left, values, right = np.linalg.svd(seen.T @ centred)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * flip) @ right
    scale = (values * flip).sum() / (centred**2).sum()
    depth = focal / scale
    offset = (seen_middle[:2] - np.array(center)) / scale
    return rotation, np.array([offset[0], offset[1], depth]) - rotation @ middle
