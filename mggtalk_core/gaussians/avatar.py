"""`Avatar`: the part of the Gaussians that is the same in every frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import pad

from ..geometry.points import HeadPoints, Label
from ..head.hairline import on_ears
from ..head.model import HeadModel
from ..head.parts import Part
from ..motion.deform import Binding, deform, model_vertices
from ..portrait.blendshapes import BLENDSHAPE_INDEX
from ..portrait.parsing import Label as Parsed
from ..portrait.portrait import Portrait
from ..record import Record
from .aperture import Aperture, aperture_of
from .colours import face_light, point_colours
from .discs import Discs, discs_on
from .gap import Gap, gap_of
from .gaussians import SH_C0
from .grazing import Grazing, grazing_of
from .inner import CAVITY, flesh, is_mouth, part_of
from .mirror import Mirror
from .mouth_light import MouthLight, mouth_light
from .neck import Neck, neck_of
from .neighbours import Tangents, surface_tangents
from .rims import Rims, rims_of
from .seams import blended

STRETCH = 2.0
"""Visible skin may grow this many times before it tears, fades and shows the backing."""
PROBES: tuple[dict[str, float], ...] = (
    {"jawOpen": 1.0},
    {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    {"mouthUpperUpLeft": 1.0, "mouthUpperUpRight": 1.0, "mouthLowerDownLeft": 1.0, "mouthLowerDownRight": 1.0},
)
"""Expressions that open lips and lids: pixels that they part are not neighbours."""
LID_MARGIN, LIP_MARGIN = 0.012, 0.04
LIP_SLOPE = 2.0
SEEN_MARGIN, SEEN_SLOPE = 0.015, 0.6
"""The same for what the picture shows between the lips, which lies not so deep that a lip would cover it in time."""
EDGE_SOFTNESS = 0.012
CHEEK_REACH, THROAT = 0.6, 0.45
"""How far from the middle of the lips the inside of the cheeks is seen, and how far behind the lips all else, units."""
NOSE_CLEARANCE = 0.05
"""The nostrils begin farther than this above the lips, units."""
CHIN_CLEARANCE = 0.15
"""The underside of the chin begins farther than this below them."""


@dataclass(frozen=True)
class Avatar(Record):
    """Everything of the Gaussians that does not depend on the frame."""

    points: HeadPoints
    binding: Binding
    tangents: Tangents
    discs: Discs
    apertures: tuple[Aperture, ...]
    behind: tuple[Int[Tensor, "k"], ...]
    """For each aperture the rows of the points that show only through it."""
    gap: Gap
    """What a mouth shows of itself only as it was opened in the picture."""
    mouth_light: MouthLight
    """What lies in the dark where lips close."""
    mirror: Mirror
    """What made the mirrored points of the visible ones."""
    grazing: Grazing
    """Skin at the rim, which streaks when it turns to the front."""
    rims: Rims
    """The rim of the head, into which the background shines."""
    neck: Neck
    """What a far turn twists."""
    cheeks: Int[Tensor, "k"]
    """Rows of the backing beside the mouth, whose inner side shows when it opens."""
    cavity: Float[Tensor, "3"]
    """What is left there of red, green and blue."""
    colours: Float[Tensor, "g 3"]
    """Base colour of every Gaussian: points, then children."""
    opacities: Float[Tensor, "g"]
    labels: UInt8[Tensor, "g"]

    @property
    def seen_count(self) -> int:
        """Number of visible and mirrored points: those that get children."""
        return self.points.visible_count + self.points.mirrored_count

    @cached_property
    def neutral(self) -> Float[Tensor, "v 3"]:
        """This person's head model at rest, landmark offsets not included; do not change it."""
        return self.binding.model.neutral(self.points.fit.identity)

    @cached_property
    def harmonics(self) -> Float[Tensor, "g 4 3"]:
        """The base colours as spherical harmonics; do not change them."""
        return pad((self.colours - 0.5) / SH_C0, (0, 9)).view(-1, 4, 3)  # the same from all sides


def build_avatar(portrait: Portrait, points: HeadPoints, binding: Binding) -> Avatar:
    """Prepare the frame-independent part of the analytic Gaussians."""
    part = part_of(binding.model, points.triangle)
    seen = points.visible_count + points.mirrored_count
    colours, opacities = point_colours(portrait, points, binding, part)
    bare = _off_ears(points, part, binding.model)
    colours = blended(colours, portrait, points, part, bare)
    child_label = torch.full((seen,), int(Label.CHILD), dtype=points.labels.dtype, device=points.labels.device)
    apertures, behind = _apertures(points, binding, part)
    tangents, mirror = _tangents(points, binding, part), Mirror.about(points.plane)
    gap = gap_of(points, part, apertures[-1], binding.rest)
    return Avatar(
        points=points,
        binding=binding,
        tangents=tangents,
        discs=discs_on(points.triangle[seen:], binding.model.triangles, binding.rest),
        apertures=apertures,
        behind=behind,
        gap=gap,
        mouth_light=mouth_light(gap.lips, gap.rest, is_mouth(part), seen),
        mirror=mirror,
        grazing=_grazing(portrait, points, part, bare, tangents.pixel, mirror),
        rims=rims_of(portrait, points, colours),
        neck=neck_of(portrait, points),
        cheeks=_cheeks(points, binding),
        cavity=flesh(CAVITY, face_light(portrait)),
        colours=torch.cat((colours, colours[:seen])),
        opacities=torch.cat((opacities, opacities[:seen])),
        labels=torch.cat((points.labels, child_label)),
    )


def _grazing(
    portrait: Portrait,
    points: HeadPoints,
    part: Int[Tensor, "n"],
    bare: Bool[Tensor, "v"],
    pixel: float,
    mirror: Mirror,
) -> Grazing:
    """Find what may streak of skin and hair; eyes and teeth lie too deep to be turned to the front."""
    rows = torch.nonzero(part[: points.visible_count] <= int(Part.SCALP)).squeeze(-1)
    column, row = points.pixel[rows].long().unbind(-1)
    face = (portrait.labels[row, column] == int(Parsed.FACE)) | (part[rows] == int(Part.FACE))
    return grazing_of(points, rows, face, face & bare[rows], mirror, pixel)


def _off_ears(points: HeadPoints, part: Int[Tensor, "n"], model: HeadModel) -> Bool[Tensor, "v"]:
    """Tell which visible points lie on the head model, but not on its ears."""
    count = points.visible_count
    place = model.mean_places(points.triangle[:count], points.barycentric[:count])
    return (part[:count] >= 0) & ~on_ears(place)


def _cheeks(points: HeadPoints, binding: Binding) -> Int[Tensor, "k"]:
    """Return the backing that an open mouth may show from within: around the mouth, and behind it.

    Nose and chin lie around it as well, whose own folds must keep their colour.
    """
    lips = binding.rest[binding.model.inner_lip]
    rows = points.with_label(Label.BACKING)
    place = points.positions[rows]
    near = (place - lips.mean(dim=0)).norm(dim=-1) < CHEEK_REACH
    below_nose = place[:, 1] < lips[:, 1].amax() + NOSE_CLEARANCE
    above_chin = place[:, 1] > lips[:, 1].amin() - CHIN_CLEARANCE
    behind = place[:, 2] < lips[:, 2].amax() - THROAT
    return rows[below_nose & (near & above_chin | behind)]


def _tangents(points: HeadPoints, binding: Binding, part: Int[Tensor, "n"]) -> Tangents:
    count = points.visible_count
    probes = [_probe(points, binding, shapes) for shapes in PROBES]
    camera = points.fit.camera
    facing = camera.sight(points.positions[:count])
    # Off-mesh points (-1) and skin (FACE, SCALP) are one surface: hairline, brows and glasses lie on the skin.
    sheet = part[:count].clamp(min=1)
    spacing = float(camera.to_camera(points.positions[:count])[:, 2].median() / camera.focal)
    return surface_tangents(points, sheet, probes, facing, spacing, STRETCH)


def _probe(points: HeadPoints, binding: Binding, shapes: dict[str, float]) -> Float[Tensor, "n 3"]:
    beta = points.fit.beta_s.clone()
    for name, value in shapes.items():
        beta[BLENDSHAPE_INDEX[name]] = value
    return deform(points, binding, beta, points.fit.gaze)


def _apertures(
    points: HeadPoints, binding: Binding, part: Int[Tensor, "n"]
) -> tuple[tuple[Aperture, ...], tuple[Int[Tensor, "k"], ...]]:
    model, fit = binding.model, points.fit
    wide = torch.zeros_like(fit.beta_s)
    wide[BLENDSHAPE_INDEX["jawOpen"]] = 0.5  # lips that touch have no upper and lower half to tell apart
    opened = model_vertices(model, fit, wide, torch.zeros_like(fit.gaze))
    seen = points.labels == int(Label.VISIBLE)
    lid, mouth = (LID_MARGIN, 0.0), is_mouth(part)
    openings = (
        (model.eyelid_left, lid, part == Part.EYE_LEFT),
        (model.eyelid_right, lid, part == Part.EYE_RIGHT),
        (model.inner_lip, (LIP_MARGIN, LIP_SLOPE), mouth & ~seen),
        (model.inner_lip, (SEEN_MARGIN, SEEN_SLOPE), mouth & seen),
    )
    apertures = tuple(aperture_of(loop, opened, *numbers, EDGE_SOFTNESS) for loop, numbers, _ in openings)
    return apertures, tuple(torch.nonzero(mask).squeeze(-1) for *_, mask in openings)
