"""Point clouds from the front and the side, as in the paper's figures 10 and 11."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from ..geometry.normals import normals_of_depth
from ..geometry.points import Label
from ..geometry.surface import Surface
from ..geometry.symmetry import symmetric_geometry
from ..motion.rotations import axis_rotation
from .geometry_heads import Subject, imagined_providers, lifted
from .sheets import SheetRow, contact_sheet

SIZE = 360
VIEWS = {"front": 0.0, "left": -60.0, "right": 60.0}
"""Degrees by which the cloud is turned about the vertical axis."""
SPAN = 2.6
"""Units of 10 cm across a picture."""
MIDDLE = (0.0, -0.1, -0.5)
"""Canonical point in the middle of a picture."""
YELLOW, RED = (0.95, 0.78, 0.3), (0.85, 0.25, 0.2)
"""Visible and mirrored points, in the paper's colours."""


def draw_points(
    points: Float[Tensor, "n 3"], colours: Float[Tensor, "n 3"], yaw: float
) -> Float[Tensor, "3 size size"]:
    """Return a picture of a canonical cloud from the front, turned by ``yaw`` degrees; the nearest point covers."""
    turn = axis_rotation(1, torch.deg2rad(torch.tensor(yaw, dtype=points.dtype)))
    x, y, z = ((points - points.new_tensor(MIDDLE)) @ turn.T).unbind(-1)
    column, row = ((axis * (SIZE / SPAN) + SIZE / 2).floor().long() for axis in (x, -y))
    inside = (column >= 0) & (column < SIZE) & (row >= 0) & (row < SIZE)
    order = torch.argsort(z[inside], stable=True)
    place = (row * SIZE + column)[inside][order]
    # Of the points that fall into a pixel the last, nearest one must win, whatever order a scatter works in.
    last = torch.full((SIZE * SIZE,), -1, dtype=torch.long)
    last.scatter_reduce_(0, place, torch.arange(len(place)), "amax")
    picture = torch.ones(SIZE * SIZE, 3)
    picture[last >= 0] = colours[inside][order][last[last >= 0]]
    return picture.T.reshape(3, SIZE, SIZE)


def shaded(surface: Surface, tone: tuple[float, float, float]) -> Float[Tensor, "n 3"]:
    """Return a colour per visible point: its tone, lit from the camera and a little from the left and above."""
    return shade(surface.normals, surface.mask, tone)


def shade(
    normals: Float[Tensor, "3 height width"], mask: Bool[Tensor, "height width"], tone: tuple[float, float, float]
) -> Float[Tensor, "n 3"]:
    """Return a colour for every pixel of a mask."""
    light = normalize(normals.new_tensor([-0.4, -0.4, -0.8]), dim=0)
    bright = 0.25 + 0.75 * torch.einsum("chw,c->hw", normals, light).clamp(min=0.0)
    return bright[mask][:, None] * torch.tensor(tone)


def stages_figure(subject: Subject) -> Float[Tensor, "3 height width"]:
    """Return figure 10 for one head: the truth, and every provider's surface, then with its mirrored half."""
    truth = subject.truth
    known = truth.depth > 0
    rows = [_row("truth", truth.position_map[:, known].T, shade(truth.normals, known, YELLOW))]
    for provider, maps in imagined_providers(subject).items():
        surface = subject.surface(**maps)
        visible, tones = surface.position_map[:, surface.mask].T, shaded(surface, YELLOW)
        rows.append(_row(provider, visible, tones))
        points = symmetric_geometry(surface, subject.model)
        mirrored = points.positions[points.with_label(Label.MIRRORED)]
        red = shaded(surface, RED)[points.mirror_of]
        rows.append(_row("with its mirrored half", torch.cat((visible, mirrored)), torch.cat((tones, red))))
    return contact_sheet(rows, list(VIEWS), cell=SIZE)


def fusion_figure(subject: Subject) -> Float[Tensor, "3 height width"]:
    """Return figure 11 for one head: points lifted from a depth map alone, and after integration with normals."""
    maps = imagined_providers(subject)
    alone = subject.estimate(maps["imagined depth"])
    lifted_alone = lifted(alone, subject.fit.camera)
    raw = normals_of_depth(alone.depth, subject.fit.camera)
    fused = subject.surface(**maps["imagined both"])
    rows = [
        _row("depth alone", lifted_alone[:, alone.mask].T, shade(raw, alone.mask, YELLOW)),
        _row("with normals (BINI)", fused.position_map[:, fused.mask].T, shaded(fused, YELLOW)),
    ]
    return contact_sheet(rows, list(VIEWS), cell=SIZE)


def _row(label: str, points: Float[Tensor, "n 3"], colours: Float[Tensor, "n 3"]) -> SheetRow:
    return SheetRow(label, [draw_points(points, colours, yaw) for yaw in VIEWS.values()])
