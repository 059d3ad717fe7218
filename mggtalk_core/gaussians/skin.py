"""Colour of the head model's skin, known where the picture shows it and diffused to where it does not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample

from ..geometry.interior import vertex_normals
from ..geometry.silhouette import eroded
from ..head.camera import Camera
from ..head.hairline import above_hairline, on_ears
from ..head.head_fit import HeadFit
from ..head.model import HeadModel
from ..head.parts import Part
from ..head.zbuffer import rasterize_mesh
from ..portrait.blendshapes import BLENDSHAPE_INDEX
from ..portrait.parsing import Label
from ..portrait.portrait import CROP_SIZE, Portrait

SEEN_DEPTH = 0.01
"""A vertex within 1 mm behind the front surface counts as seen."""
FACING, SIDES = 0.3, 0.0
"""Cosine to the camera up to which skin is the rim of a face, which takes the colour of what is around it, on the
sides of the head: behind this depth of the mean head, canonical. Lids and the wings of the nose keep theirs."""
MATTE_EROSION = 9
"""Width in pixels of the window that keeps colours clear of the soft edge of the head."""
LASH_REACH = 0.06
"""Moving lid this close to its edge carries lashes and shadow, so its colour is taken from farther away."""
LIP_REACH = 0.012
"""The seam between the lips is darker than the lips."""
DARKEST = 0.04
"""A colour darker than this does not tell how much light falls on it."""
LARGEST_LIGHT = 4.0
"""Most that one side of a face is brighter than the other: beyond, something lies before it."""
LARGEST_TINT = 0.15
"""Most that the logarithm of a channel differs more than the brightness: red skin tells little of the light's blue."""
FEWEST_HAIRY = 40
"""Vertices that the picture must show under hair before the rest of the scalp is taken to carry hair as well."""


@dataclass(frozen=True)
class Skin:
    """Of every vertex of the head model; elsewhere than on skin a mean."""

    colours: Float[Tensor, "vertices 3"]
    light: Float[Tensor, "vertices 3"]
    """How many times as bright as its mirror twin it is, or would be: one side of a face may lie in the shade."""


def sample_picture(image: Float[Tensor, "c 512 512"], pixels: Float[Tensor, "k 2"]) -> Float[Tensor, "k c"]:
    """Read an image bilinearly at continuous crop pixels; the border repeats."""
    grid = (pixels / CROP_SIZE * 2.0 - 1.0)[None, None]
    return grid_sample(image[None], grid, align_corners=False, padding_mode="border")[0, :, 0].T


def skin_of(portrait: Portrait, model: HeadModel, fit: HeadFit, rest: Float[Tensor, "vertices 3"]) -> Skin:
    """Return a colour per vertex: the picture's where it shows the vertex, else its mirror twin's, else diffused.

    What the twin lends is brought into the light of the vertex's own side. What is hidden of the scalp takes the
    colour of the hair alone, if there is hair: skin does not run into it.
    """
    projected = fit.camera.project(rest)
    known = _seen(portrait, model, projected) & ~_on_rim(model, rest, fit.camera) & ~_contaminated(model, rest)
    column, row = projected[:, :2].long().clamp(0, CROP_SIZE - 1).unbind(-1)
    hairy = known & (portrait.labels[row, column] == Label.HAIR)
    colours = sample_picture(portrait.crop, projected[:, :2]) * known[:, None]
    light = _light(colours, known & ~hairy, model)
    twin = ~known & known[model.mirror]
    colours = torch.where(twin[:, None], (colours[model.mirror] * light).clamp(max=1.0), colours)
    hairy, known = hairy | (twin & hairy[model.mirror]), known | twin
    if int(hairy.sum()) >= FEWEST_HAIRY:
        crown = _under_hair(model) & ~known
        colours = torch.where(crown[:, None], _diffuse(colours, hairy, model, hairy | crown), colours)
        known = known | crown
    return Skin(_diffuse(colours, known, model).clamp(0.0, 1.0), light)


def _light(
    colours: Float[Tensor, "vertices 3"], bare: Bool[Tensor, "vertices"], model: HeadModel
) -> Float[Tensor, "vertices 3"]:
    """Return the ratio of every vertex's colour to its twin's, diffused from where both are ``bare``, seen skin."""
    level, limit = colours.mean(dim=1, keepdim=True).clamp(min=DARKEST).log(), math.log(LARGEST_LIGHT)
    brighter = (level - level[model.mirror]).clamp(-limit, limit)
    tint = colours.clamp(min=DARKEST).log() - level
    ratio = brighter + (tint - tint[model.mirror]).clamp(-LARGEST_TINT, LARGEST_TINT)
    both = bare & bare[model.mirror]
    return _diffuse(ratio, both, model).exp() if bool(both.any()) else torch.ones_like(colours)


def _under_hair(model: HeadModel) -> Bool[Tensor, "vertices"]:
    """Tell which skin vertices of crown and back of the head hair usually covers."""
    behind = model.mean[:, 2] < -0.3
    return _is_skin(model) & (above_hairline(model.mean) > 0.0) & behind & ~on_ears(model.mean)


def _is_skin(model: HeadModel) -> Bool[Tensor, "vertices"]:
    return (model.parts == Part.FACE) | (model.parts == Part.SCALP)


def _on_rim(model: HeadModel, rest: Float[Tensor, "vertices 3"], camera: Camera) -> Bool[Tensor, "vertices"]:
    """Tell which vertices on the sides of the head the camera sees at a grazing angle, whatever may lie before them."""
    normals = vertex_normals(rest, model.triangles)
    facing = (normals * camera.sight(rest)).sum(dim=-1)
    return (facing < FACING) & (model.mean[:, 2] < SIDES)


def _seen(portrait: Portrait, model: HeadModel, projected: Float[Tensor, "vertices 3"]) -> Bool[Tensor, "vertices"]:
    """Tell which skin vertices the picture shows, away from the silhouette."""
    depth, _, _ = rasterize_mesh(projected, model.triangles, CROP_SIZE, CROP_SIZE)
    column, row = projected[:, :2].long().unbind(-1)
    inside = (column >= 0) & (row >= 0) & (column < CROP_SIZE) & (row < CROP_SIZE)
    column, row = column.clamp(0, CROP_SIZE - 1), row.clamp(0, CROP_SIZE - 1)
    front = depth[row, column]
    solid = eroded(portrait.matte[0], MATTE_EROSION)
    visible = inside & (front > 0) & (projected[:, 2] < front + SEEN_DEPTH) & (solid[row, column] > 0.9)
    return visible & _is_skin(model)


def _contaminated(model: HeadModel, rest: Float[Tensor, "vertices 3"]) -> Bool[Tensor, "vertices"]:
    """Tell which vertices lie so near a lid's edge or the lips' seam that the picture shows lashes or shadow there."""
    blinks = [BLENDSHAPE_INDEX[name] for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    lid = model.expression_basis[blinks].norm(dim=-1).amax(dim=0) > 0.01
    lids = torch.cat((model.eyelid_left, model.eyelid_right))
    near_lid = torch.cdist(rest, rest[lids]).amin(dim=1) < LASH_REACH
    near_seam = torch.cdist(rest, rest[model.inner_lip]).amin(dim=1) < LIP_REACH
    return (lid & near_lid) | near_seam


def _diffuse(
    colours: Float[Tensor, "vertices 3"],
    known: Bool[Tensor, "vertices"],
    model: HeadModel,
    domain: Bool[Tensor, "vertices"] | None = None,
) -> Float[Tensor, "vertices 3"]:
    """Solve Laplace's equation on the mesh's edges with the known colours as boundary values.

    ``domain`` tells where, by default on all skin; elsewhere the mean of what is known is returned.
    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import spsolve

    skin = (_is_skin(model) if domain is None else domain).cpu().numpy()
    faces = model.triangles.cpu().numpy()
    faces = faces[skin[faces].all(axis=1)]
    edges = np.concatenate((faces[:, :2], faces[:, 1:], faces[:, ::2]))
    count = len(skin)
    ones = np.ones(len(edges))
    graph = coo_matrix((ones, (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr()
    graph = graph + graph.T
    fixed = known.cpu().numpy()
    free = skin & ~fixed
    values = colours.cpu().double().numpy()
    mean = values[fixed].mean(axis=0) if fixed.any() else np.full(3, 0.5)
    # The weak pull to the mean gives pieces of mesh without any known vertex a colour too.
    degree = np.asarray(graph.sum(axis=1)).ravel() + 1e-6
    system = (diags(degree) - graph)[free][:, free].tocsc()
    right = graph[free][:, fixed] @ values[fixed] + 1e-6 * mean
    values[free] = spsolve(system, right).reshape(-1, 3)
    values[~skin] = mean
    return torch.from_numpy(values).to(colours)
