"""Base colour and opacity of every point (analytic start of the Gaussian decoder, paper D.3)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geometry.points import HeadPoints, Label
from ..head.model import HeadModel
from ..head.parts import Part
from ..media.fill import fill
from ..motion.deform import Binding
from ..portrait.portrait import CROP_SIZE, Portrait
from ..smoothstep import smoothstep
from .inner import INSIDE_LIPS, eyeball_angle, eyeball_profile, flesh, inner_colours, is_mouth, profile_colours
from .levels import behind_hair, below_hair_level, is_hair
from .skin import sample_picture, skin_of

LARGEST_OPACITY = 0.98
"""Rasterisers stop before a splat that would leave almost no light: one of opacity 1 would stop them too early."""
INTERIOR_OPACITY = 0.97
BACKING_OPACITY = 0.95
FEWEST_TEETH = 60
"""Pixels of teeth that tell the colour of the rest."""
FADE = (-0.05, 0.1)
"""Face heights below the level of the torso's own hair between which what hair hides or mirrors fades out.

The torso's layer takes over there, and what is seen fades out in front of it.
"""


def point_colours(
    portrait: Portrait, points: HeadPoints, binding: Binding, part: Int[Tensor, "n"]
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Return colour and opacity per point: pixel and matte where seen, twin where mirrored, model elsewhere.

    What is mirrored is brought into the light of its own side: see `Skin`.
    """
    count, seen = points.visible_count, points.visible_count + points.mirrored_count
    column, row = points.pixel.long().unbind(-1)
    colours = torch.zeros_like(points.positions)
    opacities = torch.full_like(points.positions[:, 0], INTERIOR_OPACITY)
    colours[:count] = portrait.crop[:, row, column].T
    opacities[:count] = portrait.matte[0, row, column].clamp(max=LARGEST_OPACITY)
    model, light = binding.model, face_light(portrait)
    skin, twin = skin_of(portrait, model, points.fit, binding.rest), points.mirror_of.long()
    across = _light_across(points, skin.light, model, part)
    colours[count:seen] = (colours[twin] * across[twin]).clamp(max=1.0)
    opacities[count:seen] = opacities[twin]
    outer = (model.parts == Part.FACE) | (model.parts == Part.SCALP)
    inner = inner_colours(model, binding.rest, light, _seen_teeth(colours[:count], part[:count]))
    vertex = torch.where(outer[:, None], skin.colours, inner)
    corners = vertex[model.triangles[points.triangle[seen:].long()]]
    colours[seen:] = (corners * points.barycentric[seen:, :, None]).sum(dim=1)
    opacities[points.labels == int(Label.BACKING)] = BACKING_OPACITY
    inside_lips = points.behind(points.with_label(Label.BACKING), is_mouth(part[:count]))
    colours[inside_lips] *= flesh(INSIDE_LIPS, light)
    opacities[count:] *= _above_torso(portrait, points)[count:]
    _paint_eyeballs(colours, points, binding, part, light)
    return colours, opacities


def _seen_teeth(colours: Float[Tensor, "f 3"], part: Int[Tensor, "f"]) -> Float[Tensor, "3"] | None:
    """Return the colour of the teeth that the picture shows: the median of their paler half, without gaps and gums."""
    teeth = colours[part == Part.TEETH]
    if len(teeth) < FEWEST_TEETH:
        return None
    least = teeth.amin(dim=1)
    return teeth[least >= least.median()].median(dim=0).values


def _above_torso(portrait: Portrait, points: HeadPoints) -> Float[Tensor, "n"]:
    """Return what is left, where the torso's layer takes over, of mirrored hair and of what lies behind hair."""
    faded = smoothstep(below_hair_level(portrait, points), *FADE)
    return 1.0 - faded * (is_hair(portrait, points) | behind_hair(portrait, points))


def _light_across(
    points: HeadPoints, light: Float[Tensor, "vertices 3"], model: HeadModel, part: Int[Tensor, "n"]
) -> Float[Tensor, "f 3"]:
    """Return how many times as bright the mirror image of each visible point is; off the skin as beside it."""
    own = part[: points.visible_count]
    rows = torch.nonzero((own == Part.FACE) | (own == Part.SCALP)).squeeze(-1)
    if len(rows) == 0:
        return torch.ones_like(points.positions[: len(own)])
    corners = light[model.mirror][model.triangles[points.triangle[rows].long()]]
    column, row = points.pixel.long().unbind(-1)
    picture = light.new_zeros(4, CROP_SIZE, CROP_SIZE)
    picture[:3, row[rows], column[rows]] = (corners * points.barycentric[rows, :, None]).sum(dim=1).T
    picture[3, row[rows], column[rows]] = 1.0
    return fill(picture[:3], picture[3:])[:, row, column].T


def face_light(portrait: Portrait) -> Float[Tensor, "3"]:
    """Return the bright skin colour of the face, which stands for the light that falls on it."""
    x, y = portrait.landmarks[:468, 0], portrait.landmarks[:468, 1]
    face = sample_picture(portrait.crop, torch.stack((x, y), dim=-1))
    return torch.quantile(face, 0.75, dim=0)


def _paint_eyeballs(
    colours: Float[Tensor, "n 3"],
    points: HeadPoints,
    binding: Binding,
    part: Int[Tensor, "n"],
    light: Float[Tensor, "3"],
) -> None:
    """Colour the hidden part of both eyeballs, in place, by the angle from the line of sight."""
    count = points.visible_count
    fit = points.fit
    centers = binding.model.eye_centers(fit.identity)
    for side, eye in enumerate((Part.EYE_LEFT, Part.EYE_RIGHT)):
        gaze = fit.gaze[2 * side : 2 * side + 2]
        rows = torch.nonzero(part == eye).squeeze(-1)
        angle = eyeball_angle(points.positions[rows], centers[side], gaze)
        seen = rows < count
        profile = eyeball_profile(angle[seen], colours[rows[seen]], light)
        hidden = rows >= count + points.mirrored_count
        colours[rows[hidden]] = profile_colours(profile, angle[hidden])
