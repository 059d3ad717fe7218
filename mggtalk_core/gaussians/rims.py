"""The rim of the head without the background that shines into it.

A pixel at the silhouette mixes the head with what is behind it. In the source's view that is right: it is still behind
it there. When the head turns, the rim comes to lie before other things, or on the middle of a cheek.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..geometry.points import HeadPoints
from ..head.camera import Camera
from ..media.fill import fill
from ..portrait.parsing import Label
from ..portrait.portrait import Portrait
from ..record import Record
from ..smoothstep import smoothstep
from .gaussians import SH_C0

REACH, SKIN_REACH = 6.0, 9.0
"""Pixels beside the background into which it may shine; farther on skin, which has no detail there to lose."""
SOLID, FAINT = 0.9, 0.02
"""Matte of what has the head's own colour, and below which there is nothing of it."""
MIXED, PURE, SKIN_PURE = 0.5, 0.95, 1.0
"""Share of the head in a pixel's colour up to which it is replaced, and from which it is kept: skin only as a whole.

Filmed pictures spread colour farther than light: a cheek before a blue wall is bluish for several pixels.
"""
ALIKE, APART = 0.1, 0.25
"""Distance of head and background in colour up to which no mixture can be told, and from which it can."""
BEGINS, ENDS = 0.1, 0.35
"""Angle between the source's view and another, radians, over which the colours change."""
DARK = 0.05
"""Added to dark colours before light is measured by them."""


@dataclass(frozen=True)
class Rims(Record):
    """The Gaussians of the rim, and what they look like without background."""

    rows: Int[Tensor, "k"]
    """Visible and mirrored points, then their children, among all Gaussians."""
    constant: Float[Tensor, "k 3"]
    """Their colours, as harmonics of degree 0."""
    source: Camera

    def turn(self, sh: Float[Tensor, "g 4 3"], camera: Camera) -> None:
        """Bring the harmonics of the rim, in place, to what ``camera`` should see; the source's changes nothing."""
        share = float(smoothstep(camera.turned_from(self.source), BEGINS, ENDS))
        if share > 0.0:
            sh[self.rows, 0] = torch.lerp(sh[self.rows, 0], self.constant, share)


def rims_of(portrait: Portrait, points: HeadPoints, colours: Float[Tensor, "n 3"]) -> Rims:
    """Find the points into which the background shines, seen or mirrored; ``colours`` are those of all points."""
    count, twin = points.visible_count, points.mirror_of.long()
    cleaned, changed = without_background(portrait)
    column, row = points.pixel.long().unbind(-1)
    own = cleaned[:, row, column].T
    mirrored = colours[count : count + len(twin)]
    light = (mirrored + DARK) / (portrait.crop[:, row, column].T[twin] + DARK)
    every = torch.cat((own, (own[twin] * light).clamp(max=1.0)))
    touched = changed[row, column]
    rows = torch.nonzero(torch.cat((touched, touched[twin]))).squeeze(-1)
    constant = (every[rows] - 0.5) / SH_C0
    return Rims(
        rows=torch.cat((rows, rows + len(points.positions))),
        constant=constant.repeat(2, 1),
        source=points.fit.camera,
    )


def without_background(portrait: Portrait) -> tuple[Float[Tensor, "3 512 512"], Bool[Tensor, "512 512"]]:
    """Return the crop with the head's own colours in its rim, and where they differ from the picture's."""
    import cv2

    person = (portrait.labels != int(Label.BACKGROUND)).cpu().numpy().astype(np.uint8)
    deep = torch.from_numpy(cv2.distanceTransform(person, cv2.DIST_L2, 5)).to(portrait.crop)
    skin, matte, behind = portrait.labels == int(Label.FACE), portrait.matte[0], portrait.background
    near = deep <= torch.where(skin, SKIN_REACH, REACH)
    inner = fill(portrait.crop, (~near & (matte > SOLID))[None].float())
    across = inner - behind
    apart = across.norm(dim=0)
    share = ((portrait.crop - behind) * across).sum(dim=0) / apart.square().clamp(min=1e-6)
    own = torch.where(skin, smoothstep(share, MIXED, SKIN_PURE), smoothstep(share, MIXED, PURE))
    kept = 1.0 - (1.0 - own) * smoothstep(apart, ALIKE, APART)
    changed = near & (matte > FAINT) & (kept < 1.0)
    return torch.where(changed, torch.lerp(inner, portrait.crop, kept), portrait.crop), changed
