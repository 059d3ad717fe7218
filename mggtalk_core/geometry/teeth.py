"""What moves with the skull and what with the jaw, of what the picture shows between the lips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..head.model import HeadModel
from ..head.parts import MOUTH, Part
from ..portrait.blendshapes import BLENDSHAPE_INDEX
from .mouth_view import CORNERS, Inside, seen_inside
from .silhouette import in_view
from .surface import Surface

NARROW = 0.06
"""A lip reaches so far over the model's mouth, at most, relative to the mouth's width."""
RIGID = 1e-3
"""What an open jaw moves by less than this, in units of 10 cm, belongs to the skull."""
BEFORE = 0.01
"""How far the upper row that the picture shows lies before the model's, units of 10 cm."""
DEEPEST = 0.12
"""How far behind the front teeth what the picture shows of a row may lie."""
CLEARANCE = 0.004
"""How far behind what the picture shows the model's mouth begins."""
STEP = 0.03
"""Width of the columns that a row of teeth is cut into, units of 10 cm."""


def with_seen_mouth(surface: Surface, model: HeadModel) -> Surface:
    """Return the surface with every pixel between the lips on the row of teeth or the gums that carry it.

    The model's rows of teeth seldom lie where the person's do: as the model has them, a smile's pixels would be torn
    between skull, jaw and tongue. All of them lie where the fronts of the model's rows are, the upper one before the
    lower, as in a bite. Lips that the model takes for its mouth are skin.
    """
    inside = seen_inside(surface.portrait)
    hidden = (inside > 0) & surface.mask
    surface = _with_lips_on_skin(surface, model, _on_parts(surface, model, *MOUTH) & ~hidden)
    fit = surface.fit
    vertices = model.vertices(fit.identity, fit.beta_s, fit.gaze) + fit.offsets
    centers, upper = vertices[model.triangles].mean(dim=1), upper_jaw(model)
    part = model.parts[model.triangles[:, 0]]
    for jaw, before, row, beside in (
        (upper, BEFORE, Inside.UPPER_ROW, Inside.SLIT),
        (~upper, BEFORE / 2, Inside.LOWER_ROW, Inside.CAVITY),
    ):
        teeth, gums = (torch.nonzero(jaw & (part == int(kind))).squeeze(-1) for kind in (Part.TEETH, Part.GUMS))
        for kind, carrier in ((row, teeth), (beside, gums)):
            pixels = torch.nonzero(hidden & (inside == int(kind)))
            if len(pixels) and len(teeth) and len(carrier):
                surface = _laid_before(surface, centers[teeth], pixels, before)
                surface = _carried_by(surface, centers, pixels, carrier)
    return surface


def behind_seen_mouth(positions: Float[Tensor, "k 3"], surface: Surface, model: HeadModel) -> Float[Tensor, "k 3"]:
    """Return points of the model's mouth behind what the picture shows in their place."""
    camera = surface.fit.camera
    pixels, row, column, in_picture = in_view(positions, camera)
    shown = in_picture & _on_parts(surface, model, *MOUTH)[row, column]
    depth = torch.maximum(pixels[:, 2], surface.depth[row, column] + CLEARANCE)
    behind = camera.unproject(pixels[:, :2], depth)
    return torch.where((shown & (depth > pixels[:, 2]))[:, None], behind, positions)


def _laid_before(surface: Surface, centers: Float[Tensor, "k 3"], pixels: Int[Tensor, "p 2"], before: float) -> Surface:
    """Put pixels (row, column) at the depth of the foremost of some places as far to the side as they are.

    The ends of a row lie far back: seen from the side they would come out beside the mouth, so they are drawn forward.
    """
    rows, columns = pixels.unbind(-1)
    camera, front = surface.fit.camera, centers[_front(centers)]
    front[:, 2] = front[:, 2].clamp(min=float(front[:, 2].amax()) - DEEPEST)
    nearest = front[_nearest(surface.position_map[:1, rows, columns].T, front[:, :1])]
    depth, position_map = surface.depth.clone(), surface.position_map.clone()
    depth[rows, columns] = camera.to_camera(nearest)[:, 2] - before
    position_map[:, rows, columns] = camera.unproject(pixels.flip(-1) + 0.5, depth[rows, columns]).T
    return replace(surface, depth=depth, position_map=position_map)


def _carried_by(
    surface: Surface, centers: Float[Tensor, "t 3"], pixels: Int[Tensor, "p 2"], triangles: Int[Tensor, "k"]
) -> Surface:
    """Put pixels (row, column) on the foremost of some triangles, as far to the side as they are.

    Taken from all over a row, neighbours would move apart: the jaw turns about the ears, and carries what is farther
    from them farther.
    """
    rows, columns = pixels.unbind(-1)
    front = triangles[_front(centers[triangles])]
    nearest = front[_nearest(surface.position_map[:1, rows, columns].T, centers[front, :1])]
    triangle, barycentric = surface.triangle.clone(), surface.barycentric.clone()
    triangle[rows, columns] = nearest.to(triangle.dtype)
    barycentric[:, rows, columns] = 1.0 / 3.0
    return replace(surface, triangle=triangle, barycentric=barycentric)


def _front(centers: Float[Tensor, "k 3"]) -> Int[Tensor, "b"]:
    """Return which of some places are the foremost in their step of canonical x."""
    forwards = centers[:, 2].argsort()
    steps, step = torch.unique(torch.floor(centers[forwards, 0] / STEP).long(), return_inverse=True)
    front = torch.zeros_like(steps)
    for index in range(len(steps)):
        front[index] = forwards[step == index][-1]
    return front


def _with_lips_on_skin(surface: Surface, model: HeadModel, wrong: Bool[Tensor, "512 512"]) -> Surface:
    """Put pixels that show a lip on the nearest skin."""
    here, skin = torch.nonzero(wrong), torch.nonzero(_on_parts(surface, model, Part.FACE))
    if not len(here) or not len(skin):
        return surface
    there = skin[_nearest(here, skin)]
    corners = surface.portrait.landmarks[list(CORNERS), :2]
    close = (there - here).double().norm(dim=1) < NARROW * float((corners[0] - corners[1]).norm())
    here, there = here[close].unbind(-1), there[close].unbind(-1)
    triangle, barycentric = surface.triangle.clone(), surface.barycentric.clone()
    triangle[here] = surface.triangle[there]
    barycentric[:, here[0], here[1]] = surface.barycentric[:, there[0], there[1]]
    return replace(surface, triangle=triangle, barycentric=barycentric)


def upper_jaw(model: HeadModel) -> Bool[Tensor, "t"]:
    """Return the triangles that stay when the jaw opens."""
    still = model.expression_basis[BLENDSHAPE_INDEX["jawOpen"]].norm(dim=-1) < RIGID
    return still[model.triangles].all(dim=1)


def _on_parts(surface: Surface, model: HeadModel, *parts: Part) -> Bool[Tensor, "512 512"]:
    """Return the pixels that lie on one of the model's parts."""
    part = model.parts[model.triangles[surface.triangle.clamp(min=0).long(), 0]]
    inside = torch.stack([part == int(each) for each in parts]).any(dim=0)
    return inside & (surface.triangle >= 0) & surface.mask


def _nearest(pixels: Float[Tensor, "k 2"], centers: Float[Tensor, "m 2"]) -> Int[Tensor, "k"]:
    from scipy.spatial import cKDTree

    found = cKDTree(centers.cpu().numpy()).query(pixels.cpu().numpy())[1]
    return torch.from_numpy(np.asarray(found, dtype=np.int64)).to(pixels.device)
