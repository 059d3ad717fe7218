"""Points on the head model that the picture does not show: inner parts, and skin that backs the visible surface."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ..head.model import HeadModel
from ..head.parts import Part
from ..record import Record
from .silhouette import tucked_in
from .surface import Surface
from .teeth import behind_seen_mouth, upper_jaw
from .thickness import thickness

SPACING: dict[Part, float] = {
    Part.FACE: 0.02,
    Part.SCALP: 0.03,
    Part.MOUTH_SOCKET: 0.022,
    Part.EYE_SOCKET: 0.025,
    Part.GUMS: 0.016,
    Part.TEETH: 0.01,
    Part.TONGUE: 0.012,
    Part.EYE_LEFT: 0.007,
    Part.EYE_RIGHT: 0.007,
}
"""Distance between neighbouring points in units of 10 cm (a crop pixel is about 0.0065): finest where it shows most."""
RIM_SPACING = 0.0075
RIM_REACH = 0.05
"""Skin this close to the margin of lips or lids is sampled at `RIM_SPACING`: it opens and shuts in plain view."""
INSET = 0.03
"""How far the backing lies under the skin."""
RIM_INSET = 0.01
"""The same at the margins of lips and lids, where skin is thin and a deep backing would leave a gap."""
THIN = 0.4
"""Nor more than this share of its thickness: the inside of a nostril would come out of the wing of the nose."""
LOWER_DROP = 0.035
"""How far the lower teeth and gums are lowered: the model's stand so high that every open mouth would bare them."""
INNER_INSET = 0.012
"""How far teeth, eyeballs and the rest lie behind the points of the picture that show them."""
EROSION = 13
"""Window in pixels by which the silhouette shrinks for backing points: they must never show past it."""
TUCK = 16.0
"""Farthest that a backing point is moved to get inside, pixels; beyond, the model's shape is wrong there."""
SKULL_BOTTOM = -0.5
"""Height, in units of 10 cm from the eyes, above which what is not the face is skull and ears, not neck."""
TOLERANCE = 0.002
"""A backing point this far in front of the visible surface hides it."""
SKIN_BACKWARDS, INNER_BACKWARDS = -0.5, -0.3
"""Canonical z of a normal below which no view of the face shows skin (turned by 60 degrees), teeth or eyeballs."""
MAX_LEVEL = 64
"""No triangle is cut finer than this: a broken fit must not fill the memory."""


@dataclass(frozen=True)
class HiddenPoints(Record):
    """Interior points, then backing points."""

    positions: Float[Tensor, "k 3"]
    triangle: Int[Tensor, "k"]
    barycentric: Float[Tensor, "k 3"]
    interior_count: int


def hidden_points(surface: Surface, model: HeadModel) -> HiddenPoints:
    """Sample the model's inner parts, and its skin a little under the surface, at the source expression."""
    fit = surface.fit
    vertices = model.vertices(fit.identity, fit.beta_s, fit.gaze) + fit.offsets
    rim = _distance_to_rims(vertices, model)
    spacing = _spacing(model, rim)
    part = model.parts[model.triangles[:, 0]]
    skin = part <= int(Part.SCALP)
    useful = ~_turned_away(vertices, model)
    inner = _sampled(vertices, model, torch.nonzero(~skin & useful).squeeze(-1), spacing)
    backing = _sampled(vertices, model, torch.nonzero(skin & useful).squeeze(-1), spacing)
    tucked = tucked_in(_inset(*backing, vertices, rim, model), surface, erosion=EROSION)
    positions = fit.camera.unproject(tucked.pixels, tucked.depth)
    behind = tucked.in_picture & (tucked.depth > tucked.shown - TOLERANCE)
    # The neck's flare and the shoulders do not belong to the head: there nothing is moved, only dropped.
    on_head = (part[backing[0]] == int(Part.FACE)) | (positions[:, 1] > SKULL_BOTTOM)
    keep = behind & (tucked.shift < torch.where(on_head, TUCK, 1.0))
    sunk = _on_surface(*inner, vertices, model) - vertices.new_tensor((0.0, 0.0, INNER_INSET))
    sunk[:, 1] -= LOWER_DROP * _lower_row(model)[inner[0]]
    triangle = torch.cat((inner[0], backing[0][keep]))
    barycentric = torch.cat((inner[1], backing[1][keep]))
    positions = torch.cat((behind_seen_mouth(sunk, surface, model), positions[keep]))
    return HiddenPoints(positions, triangle, barycentric, len(inner[0]))


def _lower_row(model: HeadModel) -> Bool[Tensor, "t"]:
    """Return the triangles of the teeth and gums that the jaw carries."""
    part = model.parts[model.triangles[:, 0]]
    row = (part == int(Part.TEETH)) | (part == int(Part.GUMS))
    return row & ~upper_jaw(model)


def _distance_to_rims(vertices: Float[Tensor, "v 3"], model: HeadModel) -> Float[Tensor, "v"]:
    """Return the distance of every vertex from the margins of the lips and lids."""
    loops = torch.cat((model.inner_lip, model.eyelid_left, model.eyelid_right)).long()
    return torch.cdist(vertices, vertices[loops]).amin(dim=1)


def _spacing(model: HeadModel, rim: Float[Tensor, "v"]) -> Float[Tensor, "t"]:
    """Return the distance wanted between points, per triangle."""
    table = rim.new_tensor([SPACING[part] for part in Part])
    spacing = table[model.parts[model.triangles[:, 0]].long()]
    skin = model.parts[model.triangles[:, 0]] <= int(Part.SCALP)
    near = skin & (rim[model.triangles].amin(dim=1) < RIM_REACH)
    return torch.where(near, spacing.clamp(max=RIM_SPACING), spacing)


def _turned_away(vertices: Float[Tensor, "v 3"], model: HeadModel) -> Bool[Tensor, "t"]:
    """Return the triangles that face the back of the head so squarely that no view of the face shows them."""
    a, b, c = vertices[model.triangles].unbind(1)
    normal = normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    part = model.parts[model.triangles[:, 0]]
    # The sockets are seen from inside, whichever way their triangles run.
    cavity = (part == int(Part.MOUTH_SOCKET)) | (part == int(Part.EYE_SOCKET))
    limit = torch.where(part <= int(Part.SCALP), SKIN_BACKWARDS, INNER_BACKWARDS)
    return ~cavity & (normal[:, 2] < limit)


def _sampled(
    vertices: Float[Tensor, "v 3"], model: HeadModel, chosen: Int[Tensor, "c"], spacing: Float[Tensor, "t"]
) -> tuple[Int[Tensor, "k"], Float[Tensor, "k 3"]]:
    """Cut each chosen triangle into ``level**2`` equal ones of about the wanted area; return their centres."""
    a, b, c = vertices[model.triangles[chosen]].unbind(1)
    area = 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=-1)
    level = torch.round(area.sqrt() / spacing[chosen]).long().clamp(min=1, max=MAX_LEVEL)
    triangles, weights = [], []
    for size in torch.unique(level).tolist():
        rows, centers = chosen[level == size], subdivision(size).to(vertices)
        triangles.append(rows.repeat_interleave(len(centers)))
        weights.append(centers.repeat(len(rows), 1))
    return torch.cat(triangles), torch.cat(weights)


def subdivision(level: int) -> Float[Tensor, "k 3"]:
    """Return barycentric centres of the ``level**2`` equal triangles that a triangle is cut into."""
    i, j = torch.meshgrid(torch.arange(level), torch.arange(level), indexing="ij")
    upright, inverted = i + j < level, i + j < level - 1
    u = torch.cat((i[upright] + 1 / 3, i[inverted] + 2 / 3)) / level
    v = torch.cat((j[upright] + 1 / 3, j[inverted] + 2 / 3)) / level
    return torch.stack((1 - u - v, u, v), dim=1)


def _on_surface(
    triangle: Int[Tensor, "k"], barycentric: Float[Tensor, "k 3"], vertices: Float[Tensor, "v 3"], model: HeadModel
) -> Float[Tensor, "k 3"]:
    return torch.einsum("kc,kcd->kd", barycentric, vertices[model.triangles[triangle]])


def vertex_normals(vertices: Float[Tensor, "v 3"], triangles: Int[Tensor, "t 3"]) -> Float[Tensor, "v 3"]:
    """Return unit normals of the vertices: the area-weighted mean of their triangles'."""
    a, b, c = vertices[triangles].unbind(1)
    face = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(0, triangles[:, corner], face)
    return normalize(total, dim=-1)


def _inset(
    triangle: Int[Tensor, "k"],
    barycentric: Float[Tensor, "k 3"],
    vertices: Float[Tensor, "v 3"],
    rim: Float[Tensor, "v"],
    model: HeadModel,
) -> Float[Tensor, "k 3"]:
    """Move points of the skin inwards along its normal, less near the margins of lips and lids and where it is thin."""
    depth = RIM_INSET + (INSET - RIM_INSET) * ((rim - RIM_REACH) / RIM_REACH).clamp(0.0, 1.0)
    normals = vertex_normals(vertices, model.triangles)
    thin = THIN * thickness(vertices, normals, model.parts <= int(Part.SCALP), deepest=INSET / THIN)
    inwards = -normals * torch.minimum(depth, thin)[:, None]
    return _on_surface(triangle, barycentric, vertices + inwards, model)
