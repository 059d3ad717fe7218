"""A picture of a motion's curves: what moves when."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..mggtalk_core.motion.motion import Motion
from ..mggtalk_core.motion.rotations import FACING, head_degrees
from ..mggtalk_core.portrait.blendshapes import BLENDSHAPES

WIDTH, HEIGHT, MARGIN = 768, 300, 26
LANES = 3
"""One above the other: expression, gaze, head."""
SHOWN = 7
"""Only so many curves of the expression are drawn, those that move most: more cannot be told apart."""
COLOURS = (
    (255, 106, 92),
    (86, 180, 255),
    (255, 204, 77),
    (120, 220, 130),
    (201, 140, 255),
    (255, 150, 210),
    (120, 225, 225),
)
BACKGROUND, GRID, TEXT = (24, 26, 30), (54, 58, 66), (205, 208, 214)


class Lane(NamedTuple):
    """One strip of the picture."""

    title: str
    names: list[str]
    curves: Float[Tensor, "n T"]


def curve_sheet(motion: Motion) -> Float[Tensor, "1 h w 3"]:
    """Return expression, gaze and head angles over time as one picture."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, LANES * HEIGHT // 2 + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for index, lane in enumerate(lanes(motion)):
        _draw_lane(draw, lane, index * HEIGHT // 2, HEIGHT // 2)
    seconds = len(motion) / motion.fps
    text = f"{len(motion)} frames, {seconds:.2f} s at {motion.fps:g} per second"
    draw.text((MARGIN, image.height - MARGIN + 6), text + _held(motion), fill=TEXT)
    return torch.from_numpy(np.asarray(image).copy()).float()[None] / 255.0


def lanes(motion: Motion) -> list[Lane]:
    """Return what is drawn: the expression's liveliest curves, the gaze and the head, the angles in degrees."""
    spread = motion.beta.amax(dim=0) - motion.beta.amin(dim=0) + 0.1 * motion.beta.abs().amax(dim=0)
    chosen = [int(i) for i in spread.argsort(descending=True, stable=True)[:SHOWN] if spread[i] > 1e-4]
    head = head_degrees(FACING @ motion.rotation.double()).T.float()
    gaze = torch.rad2deg(motion.gaze).T
    return [
        Lane("expression", [BLENDSHAPES[i] for i in chosen], motion.beta.T[chosen]),
        Lane("gaze, degrees", ["left yaw", "left pitch", "right yaw", "right pitch"], gaze),
        Lane("head, degrees", ["yaw", "pitch", "roll"], head),
    ]


def _held(motion: Motion) -> str:
    return f", no face in {len(motion.held)} of them" if motion.held else ""


def _draw_lane(draw: object, lane: Lane, top: int, height: int) -> None:
    curves = lane.curves.detach().cpu().double().numpy()
    low, high = min(0.0, curves.min(initial=0.0)), max(0.0, curves.max(initial=0.0))
    high = high if high - low > 1e-6 else low + 1.0
    floor, room = top + height - 12, height - 44
    zero = floor - room * (0.0 - low) / (high - low)
    draw.line((MARGIN, zero, WIDTH - MARGIN, zero), fill=GRID)
    draw.text((MARGIN, top + 6), f"{lane.title}   {low:.2g} to {high:.2g}", fill=TEXT)
    place = float(MARGIN)
    for row, (name, curve) in enumerate(zip(lane.names, curves, strict=True)):
        colour = COLOURS[row % len(COLOURS)]
        x = np.linspace(MARGIN, WIDTH - MARGIN, max(len(curve), 2))
        y = floor - room * (np.resize(curve, len(x)) - low) / (high - low)
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=colour, width=2)
        draw.text((place, top + 20), name, fill=colour)
        place += draw.textlength(name) + 12.0
