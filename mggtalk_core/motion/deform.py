"""Analytic deformation: every point moves with the fitted head (paper D.2, eq. 9, before any learned residual)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from ..geometry.points import HeadPoints
from ..head.head_fit import HeadFit
from ..head.model import HeadModel
from ..head.parts import Part
from ..parallel import one_thread
from ..record import Record

FREE_DISTANCE = 0.03
"""Points this close to the mesh (units of 10 cm) follow it fully: hair lies a few millimetres above the scalp."""
DECAY_LENGTH = 0.1
"""Beyond `FREE_DISTANCE` the mesh's motion fades by 1/e over this length, so that long hair does not flap."""


@dataclass(frozen=True)
class Binding(Record):
    """Three head-model vertices and their weights for each point; found once per avatar."""

    vertices: Int[Tensor, "n 3"]
    weights: Float[Tensor, "n 3"]
    """Barycentric on the mesh (sum 1); off the mesh they sum to the decay with distance."""
    model: HeadModel
    rest: Float[Tensor, "vertices 3"]
    """Model vertices at the source expression and gaze, landmark offsets included."""


def model_vertices(
    model: HeadModel, fit: HeadFit, beta: Float[Tensor, "52"], gaze: Float[Tensor, "4"]
) -> Float[Tensor, "vertices 3"]:
    """Return the fitted head model in another expression and gaze, canonical."""
    return model.vertices(fit.identity, beta, gaze) + fit.offsets


@one_thread()
def bind_points(points: HeadPoints, model: HeadModel) -> Binding:
    """Bind every point to the head model: by its triangle, by its twin (mirrored points) or by nearness (hair)."""
    rest = model_vertices(model, points.fit, points.fit.beta_s, points.fit.gaze)
    on_mesh = points.triangle >= 0
    vertices = model.triangles[points.triangle.clamp(min=0).long()]
    weights = points.barycentric * on_mesh[:, None]
    first, last = points.visible_count, points.visible_count + points.mirrored_count
    loose = torch.nonzero(~on_mesh[:first]).squeeze(-1)
    vertices[loose], weights[loose] = _bind_loose(points.positions[loose], rest, model)
    twin = points.mirror_of.long()
    vertices[first:last], weights[first:last] = model.mirror[vertices[twin]], weights[twin]
    return Binding(vertices, weights, model, rest)


def _bind_loose(
    positions: Float[Tensor, "n 3"], rest: Float[Tensor, "vertices 3"], model: HeadModel
) -> tuple[Int[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Bind points off the mesh to the three nearest skin vertices by inverse distance, decaying with distance."""
    from scipy.spatial import cKDTree

    skin = torch.nonzero((model.parts == Part.FACE) | (model.parts == Part.SCALP)).squeeze(-1)
    distance, nearest = cKDTree(rest[skin].cpu().numpy()).query(positions.cpu().numpy(), k=3)
    distance = torch.from_numpy(distance).to(positions)
    inverse = 1.0 / distance.clamp(min=1e-4)
    decay = torch.exp(-(distance[:, :1] - FREE_DISTANCE).clamp(min=0.0) / DECAY_LENGTH)
    return skin[torch.from_numpy(nearest).to(skin)], inverse / inverse.sum(1, keepdim=True) * decay


def deform(
    points: HeadPoints, binding: Binding, beta: Float[Tensor, "52"], gaze: Float[Tensor, "4"]
) -> Float[Tensor, "n 3"]:
    """Return ``[P_d; P_d^s; ...]``: each point plus the displacement of the vertices it is bound to (eq. 9)."""
    vertices = model_vertices(binding.model, points.fit, beta.to(binding.rest), gaze.to(binding.rest))
    return carried(points.positions, binding, vertices)


def carried(
    positions: Float[Tensor, "n 3"], binding: Binding, vertices: Float[Tensor, "vertices 3"]
) -> Float[Tensor, "n 3"]:
    """Return points at rest, moved with the head model's vertices from where these are at rest."""
    moved = vertices - binding.rest
    return positions + embedding_bag(binding.vertices, moved, per_sample_weights=binding.weights, mode="sum")
