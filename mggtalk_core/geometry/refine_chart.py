"""The chart of the head on which the geometry refinement works: the skin unrolled around the vertical axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from ..head.model import HeadModel, load_head_model
from ..head.parts import RIGID_PIECES, Part
from ..head.zbuffer import interpolate, rasterize_mesh
from ..smoothstep import smoothstep

AXIS_Z = -0.75
"""Canonical z of the axis around which the head is unrolled."""
SIDE = math.radians(150.0)
"""Largest angle from the front on the chart."""
TOP, BOTTOM = 1.3, -1.8
"""Canonical y of the chart's upper and lower edge."""
FADE_SIDE = (math.radians(105.0), math.radians(150.0))
"""Angles between which the correction fades to nothing: behind them lies the back of the head."""
FADE_BOTTOM = (-1.3, -1.8)
"""Canonical y between which it fades: the neck."""
FADE_TOP = (0.65, 1.05)
"""The same above: the crown, where all sides of the chart meet."""
SPREAD = 0.12
"""Reach of a landmark over the chart, units of 10 cm."""
EYE_NEAR, EYE_FAR = 1.15, 1.9
"""Up to so many radii from the middle of an eyeball the lids move with it as one piece, and not at all beyond."""


@dataclass(frozen=True)
class Chart:
    """Where the model's skin lies on the chart, and the landmarks on it; all of it is fixed."""

    triangle: Int[Tensor, "grid grid"]
    barycentric: Float[Tensor, "3 grid grid"]
    mask: Bool[Tensor, "grid grid"]
    mean: Float[Tensor, "3 grid grid"]
    """The mean head."""
    places: Float[Tensor, "v 2"]
    """Every vertex's place, -1..1 over the chart."""
    fade: Float[Tensor, "v"]
    landmark_share: Float[Tensor, "cells 468"]
    """What each landmark counts in every cell; rows add up to at most 1."""
    rigid: tuple[Bool[Tensor, "v"], ...]
    """Vertices that move as one piece: teeth with gums, each eyeball."""
    lids: Float[Tensor, "2 v"]
    """How much every vertex moves with the left and the right eyeball."""

    def of_vertices(self, values: Float[Tensor, "v c"], model: HeadModel) -> Float[Tensor, "c grid grid"]:
        """Spread values of the vertices over the chart."""
        return interpolate(values, model.triangles, self.triangle, self.barycentric)

    def at_vertices(self, values: Float[Tensor, "b 1 grid grid"]) -> Float[Tensor, "b v"]:
        """Return the chart's values at the vertices, faded out behind and below, one value for each rigid piece."""
        grid = self.places[None, None].expand(len(values), -1, -1, -1)
        found = grid_sample(values, grid, align_corners=False, padding_mode="border")[:, 0, 0] * self.fade
        pieces = [found[:, members].mean(dim=1, keepdim=True) for members in self.rigid]
        for share, piece in zip(self.lids, pieces[1:], strict=True):
            found = found + share * (piece - found)
        for members, piece in zip(self.rigid, pieces, strict=True):
            found = torch.where(members, piece, found)
        return found


@cache
def load_chart(grid: int) -> Chart:
    """Return the chart of the head model that comes with the package; made once per process."""
    model = load_head_model()
    skin = model.parts <= int(Part.SCALP)
    places = _places(model.mean)
    radius = torch.hypot(model.mean[:, 0], model.mean[:, 2] - AXIS_Z)
    pixels = torch.cat(((places + 1.0) * (grid / 2), 10.0 - radius[:, None]), dim=1)
    angle = torch.atan2(model.mean[:, 0], model.mean[:, 2] - AXIS_Z).abs()
    # Triangles across the seam behind the head would cover the whole chart.
    kept = (skin & (angle < SIDE))[model.triangles].all(dim=1).nonzero()[:, 0]
    _, triangle, barycentric = rasterize_mesh(pixels, model.triangles[kept], grid, grid)
    mask = triangle >= 0
    triangle = torch.where(mask, kept[triangle.clamp(min=0)], triangle)
    mean = interpolate(model.mean, model.triangles, triangle, barycentric)
    eyes = [model.parts == int(part) for part in (Part.EYE_LEFT, Part.EYE_RIGHT)]
    return Chart(
        triangle=triangle,
        barycentric=barycentric,
        mask=mask,
        mean=mean,
        places=places,
        fade=_fade(model.mean, angle),
        landmark_share=_landmark_share(mean, mask, model),
        rigid=tuple(sum(model.parts == int(part) for part in group).bool() for group in RIGID_PIECES),
        lids=torch.stack([_near_eye(model, eye, center) for eye, center in zip(eyes, model.eye_mean, strict=True)]),
    )


def _places(points: Float[Tensor, "v 3"]) -> Float[Tensor, "v 2"]:
    """Return where points lie on the chart: the subject's left on the right, up above."""
    across = torch.atan2(points[:, 0], points[:, 2] - AXIS_Z) / SIDE
    down = (TOP - points[:, 1]) / (TOP - BOTTOM) * 2.0 - 1.0
    return torch.stack((across, down), dim=1)


def _fade(mean: Float[Tensor, "v 3"], angle: Float[Tensor, "v"]) -> Float[Tensor, "v"]:
    edges = ((angle, FADE_SIDE), (mean[:, 1], FADE_BOTTOM), (mean[:, 1], FADE_TOP))
    side, bottom, top = (smoothstep(values, outer, inner) for values, (inner, outer) in edges)
    return side * bottom * top


def _landmark_share(
    mean: Float[Tensor, "3 grid grid"], mask: Bool[Tensor, "grid grid"], model: HeadModel
) -> Float[Tensor, "cells 468"]:
    landmarks = model.landmarks(model.mean)[:468]
    share = torch.exp(-0.5 * (torch.cdist(mean.flatten(1).T, landmarks) / SPREAD) ** 2)
    return share / (share.sum(dim=1, keepdim=True) + 0.05) * mask.flatten()[:, None]


def _near_eye(model: HeadModel, eye: Bool[Tensor, "v"], center: Float[Tensor, "3"]) -> Float[Tensor, "v"]:
    distance = (model.mean - center).norm(dim=1)
    radius = float(distance[eye].median())
    return smoothstep(distance, EYE_FAR * radius, EYE_NEAR * radius)
