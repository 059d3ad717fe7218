"""Calibration of colours and opacities against the source picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from ..head.camera import Camera
from ..portrait.portrait import Portrait
from .avatar import Avatar
from .colours import LARGEST_OPACITY
from .frame import frame_gaussians
from .gaussians import Gaussians

RenderFunction = Callable[
    [Gaussians, Camera, Float[Tensor, "3"]],
    tuple[Float[Tensor, "3 h w"], Float[Tensor, "1 h w"], Float[Tensor, "1 h w"]],
]
"""``(gaussians, camera, background) -> (rgb, alpha, depth)``: handed in, for the rasteriser lies behind this stage."""

ROUNDS = 2
GAIN = 0.9
LARGEST_STEP = 0.12
"""Largest change of a colour in one round: on steep surfaces, which cover each other, more would come out as specks."""
REACH = 8.0
"""Distance behind the rendered surface, in pixel spacings, at which a point counts as covered."""
FLAT = 0.5
"""Grey of the flat background that the head is rendered over."""


def calibrate(avatar: Avatar, portrait: Portrait, render: RenderFunction, rounds: int = ROUNDS) -> Avatar:
    """Add what the render at the source pose lacks to the Gaussians of each pixel, a few times over.

    Splatting blurs by the width of the Gaussians; this fixed-point iteration (Van Cittert's deconvolution) takes the
    blur back, and brings the soft edge of the head to the matte. More rounds gain at the source pose and lose half a
    pixel beside it: they fit the grain of the lattice.
    """
    fit = avatar.points.fit
    background = torch.full((3,), FLAT, device=portrait.crop.device)
    target = portrait.crop * portrait.matte + FLAT * (1.0 - portrait.matte)
    for _ in range(rounds):
        rgb, alpha, depth = render(frame_gaussians(avatar, fit.beta_s, fit.gaze), fit.camera, background)
        avatar = replace(
            avatar,
            colours=_corrected(avatar, (GAIN * (target - rgb)).clamp(-LARGEST_STEP, LARGEST_STEP), depth),
            opacities=_matched(avatar, portrait.matte / alpha.clamp(min=0.05)),
        )
    return avatar


def _child_rows(avatar: Avatar) -> slice:
    first = len(avatar.points.positions)
    return slice(first, first + avatar.points.visible_count)


def _corrected(
    avatar: Avatar, error: Float[Tensor, "3 512 512"], depth: Float[Tensor, "1 512 512"]
) -> Float[Tensor, "g 3"]:
    """Return colours moved by the error at the parents' pixels and at the children's corners between four pixels."""
    colours = avatar.colours.clone()
    column, row = avatar.points.pixel.long().unbind(-1)
    seen = _in_front(avatar, depth[0, row, column])
    colours[: avatar.points.visible_count] += error[:, row, column].T * seen
    beyond = pad(error[None], (0, 1, 0, 1), mode="replicate")[0]
    corner = 0.25 * sum(beyond[:, row + dy, column + dx] for dy in (0, 1) for dx in (0, 1))
    colours[_child_rows(avatar)] += corner.T * seen
    return colours.clamp(0.0, 1.0)


def _in_front(avatar: Avatar, depth: Float[Tensor, "f"]) -> Float[Tensor, "f 1"]:
    """Return 1 for points on the surface that was rendered, falling to 0 for those that something else covers.

    A covered point cannot mend its pixel: left alone, its colour would grow without bound.
    """
    camera = avatar.points.fit.camera
    own = camera.to_camera(avatar.points.positions[: avatar.points.visible_count])[:, 2]
    behind = (own - depth) * camera.focal / own
    return ((REACH - behind) / REACH).clamp(0.0, 1.0)[:, None]


def _matched(avatar: Avatar, ratio: Float[Tensor, "1 512 512"]) -> Float[Tensor, "g"]:
    """Return opacities scaled toward the matte where the head is not solid."""
    opacities = avatar.opacities.clone()
    column, row = avatar.points.pixel.long().unbind(-1)
    scale = ratio[0, row, column].clamp(0.5, 2.0)
    for rows in (slice(0, avatar.points.visible_count), _child_rows(avatar)):
        opacities[rows] = (opacities[rows] * scale).clamp(0.0, LARGEST_OPACITY)
    return opacities
