"""How thick the head model is under its skin: nose wings, ears and lips are thin."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

NEIGHBOURS = 64
"""Vertices among which the other side of a thin part is looked for."""
OPPOSED = -0.3
"""Cosine between normals from which on two vertices lie on opposite sides."""
ASIDE = 1.0
"""How far aside the other side may lie, relative to how deep."""


def thickness(
    vertices: Float[Tensor, "v 3"], normals: Float[Tensor, "v 3"], skin: Bool[Tensor, "v"], deepest: float = math.inf
) -> Float[Tensor, "v"]:
    """Return how deep under each vertex of the skin its other side lies; infinite where none is near.

    ``normals`` point outwards and have unit length; vertices that are not ``skin`` neither have nor are an other side.
    What lies deeper than ``deepest`` may come out as infinite: not to look for it saves most of the time.
    """
    from scipy.spatial import cKDTree

    places, outwards = (each[skin].float().cpu().numpy() for each in (vertices, normals))
    found = np.full(len(vertices), np.inf, np.float32)
    if len(places) > 1:
        farthest = deepest * math.hypot(1.0, ASIDE)
        near = cKDTree(places).query(places, k=min(NEIGHBOURS, len(places)), distance_upper_bound=farthest)[1]
        # Where there are fewer so near, the rest are given the row behind the last.
        opposed = _dot(np.vstack((outwards, np.zeros(3, np.float32)))[near], outwards[:, None]) < OPPOSED
        here, there = opposed.nonzero()[0], near[opposed]
        way = places[there] - places[here]
        depth = -_dot(way, outwards[here])
        aside = np.sqrt(np.maximum(_dot(way, way) - depth**2, 0.0))
        valid = (depth > 0.0) & (aside < ASIDE * depth)
        thin = np.full(len(places), np.inf, np.float32)
        np.minimum.at(thin, here[valid], depth[valid])
        found[skin.cpu().numpy()] = thin
    return torch.from_numpy(found).to(vertices)


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the inner products of vectors [..., 3]."""
    return first[..., 0] * second[..., 0] + first[..., 1] * second[..., 1] + first[..., 2] * second[..., 2]
