"""What a node shows of its work: crop with landmarks and matte, depth, normals, points by label, curves."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io, ui
from jaxtyping import Float
from torch import Tensor

from ..mggtalk_core.geometry.points import HeadPoints, Label
from ..mggtalk_core.portrait.portrait import Portrait
from .convert import to_image

LABEL_COLOURS: dict[int, tuple[float, float, float]] = {
    Label.VISIBLE: (0.85, 0.85, 0.85),
    Label.MIRRORED: (0.25, 0.6, 1.0),
    Label.INTERIOR: (1.0, 0.45, 0.35),
    Label.BACKING: (0.3, 0.75, 0.35),
}
"""Grey was seen, blue is mirrored, red is inside the mouth and eyes, green is the skin behind."""
TURN = 0.7
"""Sine of the angle that the second view of the points is turned by."""


def show(image: Float[Tensor, "b h w 3"], cls: type[io.ComfyNode]) -> Any:
    """Return the picture as what the node displays."""
    return ui.PreviewImage(image, cls=cls)


def side_by_side(*images: Float[Tensor, "b h w 3"]) -> Float[Tensor, "b h w 3"]:
    """Return IMAGE batches of one size next to each other."""
    return torch.cat([image[:1] for image in images], dim=2)


def portrait_sheet(portrait: Portrait) -> Float[Tensor, "1 512 1536 3"]:
    """Return the crop with its landmarks, the head alone on grey, and what is behind it."""
    marked = portrait.crop.clone()
    x, y = portrait.landmarks[:, :2].long().clamp(1, marked.shape[-1] - 2).unbind(-1)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        marked[:, y + dy, x + dx] = marked.new_tensor((0.1, 1.0, 0.4))[:, None]
    head = portrait.crop * portrait.matte + 0.5 * (1.0 - portrait.matte)
    return side_by_side(*(to_image(picture) for picture in (marked, head, portrait.background)))


def points_sheet(points: HeadPoints) -> Float[Tensor, "1 512 1024 3"]:
    """Return the points in the colours of their labels, from the camera and from the side."""
    cosine = (1.0 - TURN * TURN) ** 0.5
    turn = points.positions.new_tensor(((cosine, 0.0, TURN), (0.0, 1.0, 0.0), (-TURN, 0.0, cosine)))
    middle = points.positions.mean(dim=0)
    turned = (points.positions - middle) @ turn.T + middle
    return side_by_side(*(to_image(_scatter(points, positions)) for positions in (points.positions, turned)))


def _scatter(points: HeadPoints, positions: Float[Tensor, "n 3"]) -> Float[Tensor, "3 512 512"]:
    """Draw every point as one pixel, near ones over far ones."""
    camera = points.fit.camera
    x, y, z = camera.project(positions).unbind(-1)
    order = torch.argsort(z, descending=True, stable=True)
    column, row = x[order].long(), y[order].long()
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    palette = positions.new_tensor([LABEL_COLOURS[label] for label in sorted(LABEL_COLOURS)])
    shade = 1.0 - 0.6 * (z - z.min()) / (z.max() - z.min()).clamp(min=1e-6)
    colours = palette[points.labels.long()] * shade[:, None]
    # Written one after the other, the last one stays: of equal pixels the nearest point.
    pixel = (row * camera.width + column)[inside]
    last = torch.full((camera.width * camera.height,), -1, dtype=torch.long)
    last.scatter_reduce_(0, pixel.cpu(), torch.arange(len(pixel)), reduce="amax")
    canvas = torch.full((camera.width * camera.height, 3), 0.08)
    drawn = last >= 0
    canvas[drawn] = colours[order][inside].cpu()[last[drawn]]
    return canvas.T.reshape(3, camera.height, camera.width)


def ends(images: Float[Tensor, "b *size"]) -> Float[Tensor, "n *size"]:
    """Return the first and the last picture or mask of a batch."""
    return images if len(images) < 2 else images[[0, -1]]
