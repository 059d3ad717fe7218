"""Flat Gaussians that lie on the head model: interior and backing points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from ..record import Record
from .frames import ellipse_frames


@dataclass(frozen=True)
class Discs(Record):
    """Discs on triangles; they stretch and turn with their triangle."""

    vertices: Int[Tensor, "k 3"]
    weights: Float[Tensor, "2 k 3"]
    """Vertex weights, summing to 0, whose combination is each of the two spacing vectors."""

    def __call__(self, vertices: Float[Tensor, "vertices 3"]) -> tuple[Float[Tensor, "k 4"], Float[Tensor, "k 3"]]:
        """Return quaternions of the discs on a deformed mesh, and their spacing along the principal axes."""
        along = [embedding_bag(self.vertices, vertices, per_sample_weights=w, mode="sum") for w in self.weights]
        return ellipse_frames(along[0], along[1])


def discs_on(triangle: Int[Tensor, "k"], triangles: Int[Tensor, "faces 3"], rest: Float[Tensor, "vertices 3"]) -> Discs:
    """Give each point on the mesh a disc of its share of the triangle's area, perpendicular axes at rest."""
    corners = triangles[triangle.long()]
    a, b, c = (rest[corners[:, k]] for k in range(3))
    edge1, edge2 = b - a, c - a
    normal = torch.linalg.cross(edge1, edge2)
    area = 0.5 * normal.norm(dim=-1)
    share = torch.bincount(triangle.long(), minlength=len(triangles))[triangle.long()]
    spacing = (area / share).sqrt()[:, None]
    axis1 = normalize(edge1, dim=-1) * spacing
    axis2 = torch.linalg.cross(normalize(normal, dim=-1), axis1)
    return Discs(corners, torch.stack([_vertex_weights(axis, edge1, edge2) for axis in (axis1, axis2)]))


def _vertex_weights(
    vector: Float[Tensor, "k 3"], edge1: Float[Tensor, "k 3"], edge2: Float[Tensor, "k 3"]
) -> Float[Tensor, "k 3"]:
    """Write a vector in the triangle's plane as a combination of its corners."""
    g11, g12, g22 = (edge1 * edge1).sum(-1), (edge1 * edge2).sum(-1), (edge2 * edge2).sum(-1)
    p1, p2 = (vector * edge1).sum(-1), (vector * edge2).sum(-1)
    determinant = (g11 * g22 - g12 * g12).clamp(min=1e-12)
    u = (g22 * p1 - g12 * p2) / determinant
    v = (g11 * p2 - g12 * p1) / determinant
    return torch.stack((-u - v, u, v), dim=-1)
