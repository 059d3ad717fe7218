"""What the picture shows between the lips: a bright pixel belongs to the upper row of teeth, a lip to itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..head.model import HeadModel
from ..head.parts import Part
from ..portrait.blendshapes import BLENDSHAPE_INDEX
from .surface import Surface

BRIGHT = 0.62
"""Darkest channel of a tooth over the brightness of the face: lips and tongue are redder, the cavity is darker."""
DIM = 0.6
"""Brightness of the cavity over that of the lips, at most: what is brighter and no tooth is a lip."""
LIPS = ((0, 13), (37, 82), (267, 312), (17, 14), (84, 87), (314, 317))
"""Landmarks on the outer and the inner rim of a lip; between them lies its middle."""
NARROW = 0.06
"""A lip reaches so far over the model's mouth, at most, relative to the mouth's width."""
CORNERS = (61, 291)
RIGID = 1e-3
"""Teeth that an open jaw moves by less than this, in units of 10 cm, are the upper row."""


def with_seen_teeth(surface: Surface, model: HeadModel) -> Surface:
    """Return the surface with bright pixels inside the mouth assigned to the nearest upper tooth, lips to the skin.

    The model's rows of teeth seldom lie where the person's do, and a smile shows the upper row: left on the lower row
    or the tongue, its pixels would travel down with the jaw. A model whose mouth is open a little wider than the
    person's shows teeth where the picture shows lips: left there, spots of lip would stay on the teeth.
    """
    surface = _with_lips_on_skin(surface, model)
    rows, columns = torch.nonzero(_mouth_pixels(surface, model) & _bright(surface), as_tuple=True)
    upper = upper_teeth(model)
    if not len(rows) or not len(upper):
        return surface
    fit = surface.fit
    vertices = model.vertices(fit.identity, fit.beta_s, fit.gaze) + fit.offsets
    centers = fit.camera.project(vertices[model.triangles[upper]].mean(dim=1))[:, :2]
    nearest = _nearest(torch.stack((columns, rows), dim=1) + 0.5, centers)
    triangle, barycentric = surface.triangle.clone(), surface.barycentric.clone()
    triangle[rows, columns] = upper[nearest].to(triangle.dtype)
    barycentric[:, rows, columns] = 1.0 / 3.0
    return replace(surface, triangle=triangle, barycentric=barycentric)


def _with_lips_on_skin(surface: Surface, model: HeadModel) -> Surface:
    brightness, limit = surface.portrait.crop.mean(dim=0), DIM * _lip_brightness(surface)
    wrong = torch.nonzero(_mouth_pixels(surface, model) & ~_bright(surface) & (brightness > limit))
    skin = torch.nonzero(_shows(surface, model, Part.FACE))
    if not len(wrong) or not len(skin):
        return surface
    nearest = skin[_nearest(wrong, skin)]
    corners = surface.portrait.landmarks[list(CORNERS), :2]
    close = (nearest - wrong).double().norm(dim=1) < NARROW * float((corners[0] - corners[1]).norm())
    here, there = wrong[close].unbind(-1), nearest[close].unbind(-1)
    triangle, barycentric = surface.triangle.clone(), surface.barycentric.clone()
    triangle[here] = surface.triangle[there]
    barycentric[:, here[0], here[1]] = surface.barycentric[:, there[0], there[1]]
    return replace(surface, triangle=triangle, barycentric=barycentric)


def _lip_brightness(surface: Surface) -> Float[Tensor, ""]:
    landmarks = surface.portrait.landmarks[:, :2]
    column, row = torch.stack([landmarks[list(pair)].mean(dim=0) for pair in LIPS]).long().clamp(0, 511).unbind(-1)
    return surface.portrait.crop[:, row, column].mean(dim=0).median()


def upper_teeth(model: HeadModel) -> Int[Tensor, "k"]:
    """Return the triangles of the upper teeth."""
    teeth = model.parts[model.triangles[:, 0]] == int(Part.TEETH)
    return torch.nonzero(teeth & upper_jaw(model)).squeeze(-1)


def upper_jaw(model: HeadModel) -> Bool[Tensor, "t"]:
    """Return the triangles that stay when the jaw opens."""
    still = model.expression_basis[BLENDSHAPE_INDEX["jawOpen"]].norm(dim=-1) < RIGID
    return still[model.triangles].all(dim=1)


def _mouth_pixels(surface: Surface, model: HeadModel) -> Bool[Tensor, "512 512"]:
    return _shows(surface, model, Part.TEETH, Part.GUMS, Part.TONGUE, Part.MOUTH_SOCKET)


def _shows(surface: Surface, model: HeadModel, *parts: Part) -> Bool[Tensor, "512 512"]:
    """Return the pixels that lie on one of the model's parts."""
    part = model.parts[model.triangles[surface.triangle.clamp(min=0).long(), 0]]
    inside = torch.stack([part == int(each) for each in parts]).any(dim=0)
    return inside & (surface.triangle >= 0) & surface.mask


def _bright(surface: Surface) -> Bool[Tensor, "512 512"]:
    """Return the pixels whose darkest channel comes near the brightness of the face."""
    crop, landmarks = surface.portrait.crop, surface.portrait.landmarks[:468, :2].long().clamp(0, 511)
    face = crop[:, landmarks[:, 1], landmarks[:, 0]].mean(dim=0)
    return crop.amin(dim=0) > BRIGHT * torch.quantile(face, 0.75)


def _nearest(pixels: Float[Tensor, "k 2"], centers: Float[Tensor, "m 2"]) -> Int[Tensor, "k"]:
    from scipy.spatial import cKDTree

    found = cKDTree(centers.cpu().numpy()).query(pixels.cpu().numpy())[1]
    return torch.from_numpy(np.asarray(found, dtype=np.int64)).to(pixels.device)
