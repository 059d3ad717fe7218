"""The Gaussians of one expression (paper eq. 4 to 6, analytic form)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..motion.deform import deform, model_vertices
from .avatar import Avatar
from .densify import CHILD_SHRINK, child_offset
from .frames import ellipse_frames
from .gaussians import SH_C0, Gaussians
from .mirror import reflect_harmonics, reflect_quaternions

SPREAD = 0.5
"""Standard deviation of a visible Gaussian over the distance to its neighbour."""
DISC_SPREAD = 0.6
"""The same on the head model, whose points lie less regularly."""


def frame_gaussians(avatar: Avatar, beta: Float[Tensor, "52"], gaze: Float[Tensor, "4"]) -> Gaussians:
    """Return the Gaussians of one expression: visible (eq. 4), mirrored (eq. 5), model-made, and children (eq. 6)."""
    points, count, seen = avatar.points, avatar.points.visible_count, avatar.seen_count
    positions = deform(points, avatar.binding, beta, gaze)
    vertices = model_vertices(avatar.binding.model, points.fit, beta.to(positions), gaze.to(positions))
    along_x, along_y = avatar.tangents(positions[:count])
    quats, scales = ellipse_frames(along_x, along_y, SPREAD * CHILD_SHRINK)
    twin = points.mirror_of.long()
    offset = child_offset(along_x, along_y)
    offset = torch.cat((offset, offset[twin] * offset.new_tensor((-1.0, 1.0, 1.0))))
    quats = torch.cat((quats, reflect_quaternions(quats[twin])))
    scales = torch.cat((scales, scales[twin]))
    disc_quats, disc_scales = avatar.discs(vertices, DISC_SPREAD)
    opacities = _shown(avatar, positions, vertices)
    return Gaussians(
        means=torch.cat((positions, positions[:seen] + offset)),
        quats=torch.cat((quats, disc_quats, quats)),
        scales=torch.cat((scales, disc_scales, scales)),
        opacities=opacities,
        sh=_harmonics(avatar),
        labels=avatar.labels,
    )


def _shown(
    avatar: Avatar, positions: Float[Tensor, "n 3"], vertices: Float[Tensor, "vertices 3"]
) -> Float[Tensor, "g"]:
    """Return opacities with everything behind lids and lips hidden."""
    factor = torch.ones(len(positions), device=positions.device)
    for aperture, rows in zip(avatar.apertures, avatar.behind, strict=True):
        factor[rows] = aperture(vertices, positions[rows])
    return avatar.opacities * torch.cat((factor, factor[: avatar.seen_count]))


def _harmonics(avatar: Avatar) -> Float[Tensor, "g 4 3"]:
    sh = torch.zeros(len(avatar.colours), 4, 3, device=avatar.colours.device)
    sh[:, 0] = (avatar.colours - 0.5) / SH_C0
    first, last = avatar.points.visible_count, avatar.seen_count
    sh[first:last] = reflect_harmonics(sh[first:last])
    return sh
