"""The Gaussians of one expression (paper eq. 4 to 6, analytic form)."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..head.camera import Camera
from ..head.head_fit import HeadFit
from ..motion.deform import carried
from ..smoothstep import smoothstep
from .avatar import Avatar
from .backs import shown_from
from .densify import CHILD_SHRINK, child_offset
from .frames import ellipse_frames
from .gaussians import SH_C0, Gaussians

SPREAD = 0.28
"""Standard deviation of a visible Gaussian over the distance to its neighbour, before it shares with its child.

Small, since at one pixel's distance the rasteriser's own low-pass filter already closes the gaps.
"""
WIDE_SPREAD = 0.43
"""The same for the part of the distance beyond one pixel, where that filter no longer helps."""
DISC_SPREAD = 0.6
"""The same on the head model, whose points lie less regularly."""
INWARDS = (0.1, 0.3)
"""Cosine between the inner side of a cheek and the way to the camera over which it comes to lie in the dark: what is
seen edge-on is the outer rim of a jaw, which would get a dark line."""


def frame_gaussians(
    avatar: Avatar,
    beta: Float[Tensor, "52"],
    gaze: Float[Tensor, "4"],
    camera: Camera | None = None,
    *,
    fit: HeadFit | None = None,
    every_side: bool = False,
) -> Gaussians:
    """Return the Gaussians of one expression: visible (eq. 4), mirrored (eq. 5), model-made, and children (eq. 6).

    Args:
        avatar: what does not change from frame to frame.
        beta: driven expression ``beta_d``.
        gaze: driven gaze.
        camera: what sees them, the source's by default: it tells which backing is seen from inside the mouth and lies
            in the dark, which skin has turned to its edge, and which mirrored Gaussians show their backs.
        fit: the head that moves the points, the avatar's with other offsets; the avatar's own by default.
        every_side: they are to be seen from anywhere, so that nothing may be hidden because of its back.
    """
    points = avatar.points if fit is None else replace(avatar.points, fit=fit)
    camera = camera or points.fit.camera
    count, seen = points.visible_count, avatar.seen_count
    beta, gaze = beta.to(points.positions), gaze.to(points.positions)
    vertices = avatar.binding.model.expressed(avatar.neutral, points.fit.identity, beta, gaze) + points.fit.offsets
    positions = carried(points.positions, avatar.binding, vertices)
    along_x, along_y, whole = avatar.tangents(positions[:count])
    quats, spacing = ellipse_frames(along_x, along_y)
    scales = _extent(spacing, avatar.tangents.pixel)
    twin = points.mirror_of.long()
    offset = child_offset(along_x, along_y)
    offset = torch.cat((offset, avatar.mirror.reflect_vectors(offset[twin])))
    quats = torch.cat((quats, avatar.mirror.reflect_quaternions(quats[twin])))
    scales = torch.cat((scales, scales[twin]))
    disc_quats, disc_spacing = avatar.discs(vertices)
    shown = _shown(avatar, positions, vertices, torch.cat((whole, whole[twin])))
    avatar.grazing.fade(shown, positions, camera)
    if not every_side:
        # Rows run to the right and columns down: their product points into the picture, away from the viewer.
        outwards = avatar.mirror.reflect_vectors(-torch.linalg.cross(along_x[twin], along_y[twin]))
        shown[count:seen] *= shown_from(outwards, positions[count:seen], camera, points.fit.camera)
    return Gaussians(
        means=torch.cat((positions, positions[:seen] + offset)),
        quats=torch.cat((quats, disc_quats, quats)),
        scales=torch.cat((scales, DISC_SPREAD * disc_spacing, scales)),
        opacities=avatar.opacities * torch.cat((shown, shown[:seen])),
        sh=_harmonics(avatar, vertices, camera),
        labels=avatar.labels,
    )


def _extent(spacing: Float[Tensor, "f 3"], pixel: float) -> Float[Tensor, "f 3"]:
    """Return the standard deviations of Gaussians that stand ``spacing`` apart, children between them."""
    return CHILD_SHRINK * (SPREAD * spacing + (WIDE_SPREAD - SPREAD) * (spacing - pixel).clamp(min=0.0))


def _shown(
    avatar: Avatar,
    positions: Float[Tensor, "n 3"],
    vertices: Float[Tensor, "vertices 3"],
    whole: Float[Tensor, "seen"],
) -> Float[Tensor, "n"]:
    """Return what is left of every point: torn skin fades, everything behind lids and lips is hidden."""
    factor = torch.ones(len(positions), device=positions.device)
    factor[: avatar.seen_count] = whole
    for aperture, rows in zip(avatar.apertures, avatar.behind, strict=True):
        factor[rows] = aperture(vertices, positions[rows])
    avatar.gap.fade(factor, vertices)
    return factor


def _turned_away(avatar: Avatar, vertices: Float[Tensor, "vertices 3"], camera: Camera) -> Float[Tensor, "k"]:
    """Return how far each of the cheeks turns its inner side to the camera: it sees them from within an open mouth."""
    corners = vertices[avatar.discs.vertices[avatar.cheeks - avatar.seen_count]]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return smoothstep(-cosine_similarity(camera.place - corners[:, 0], normal, dim=-1), *INWARDS)


def _harmonics(avatar: Avatar, vertices: Float[Tensor, "vertices 3"], camera: Camera) -> Float[Tensor, "g 4 3"]:
    """Return the avatar's harmonics as ``camera`` sees them: cheeks from within in the dark, mouth and rim as lit."""
    rows, sh = avatar.cheeks, avatar.harmonics.clone()
    dark, colours = _turned_away(avatar, vertices, camera)[:, None], avatar.colours[rows]
    sh[rows, 0] = (colours * (1.0 - dark * (1.0 - avatar.cavity)) - 0.5) / SH_C0
    avatar.mouth_light.dim(sh, vertices)
    avatar.rims.turn(sh, camera)
    return sh
