"""Contact sheets: pictures in a grid with small labels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

LABEL_HEIGHT = 16
LABEL_WIDTH = 96
LABEL_LETTERS = 14
"""That many letters of the small font fit into the width of a label."""
GAP = 2


@dataclass(frozen=True)
class SheetRow:
    """One row of a sheet: a label on the left and pictures of any size; None leaves a place empty."""

    label: str
    images: Sequence[Float[Tensor, "3 height width"] | None]


def contact_sheet(
    rows: Sequence[SheetRow], captions: Sequence[str] = (), cell: int = 192, title: str = ""
) -> Float[Tensor, "3 height width"]:
    """Return a sheet of square cells of ``cell`` pixels, pictures fitted into them, on white.

    Args:
        rows: from the top downwards.
        captions: text above the columns.
        cell: edge of a cell in pixels.
        title: text in the upper left corner.
    """
    from PIL import Image, ImageDraw

    columns = max((len(row.images) for row in rows), default=0)
    top = LABEL_HEIGHT * (bool(title) + bool(captions))
    size = (LABEL_WIDTH + columns * (cell + GAP), top + len(rows) * (cell + GAP))
    sheet = Image.new("RGB", (max(size[0], 1), max(size[1], 1)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((2, 2), title, fill="black")
    for column, caption in enumerate(captions):
        draw.text((LABEL_WIDTH + column * (cell + GAP) + 2, top - LABEL_HEIGHT + 2), caption, fill="black")
    for index, row in enumerate(rows):
        y = top + index * (cell + GAP)
        draw.multiline_text((2, y + 2), "\n".join(textwrap.wrap(row.label, LABEL_LETTERS)), fill="black", spacing=2)
        for column, image in enumerate(row.images):
            if image is not None:
                sheet.paste(_thumbnail(image, cell), (LABEL_WIDTH + column * (cell + GAP), y))
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float() / 255.0


def difference(
    image: Float[Tensor, "3 height width"], truth: Float[Tensor, "3 height width"], gain: float = 4.0
) -> Float[Tensor, "3 height width"]:
    """Return the absolute difference of two pictures, ``gain`` times brighter."""
    return ((image - truth).abs() * gain).clamp(0.0, 1.0)


def squared_difference(
    image: Float[Tensor, "3 height width"], truth: Float[Tensor, "3 height width"], gain: float = 1.0
) -> Float[Tensor, "3 height width"]:
    """Return the squared difference of two pictures, mean of the channels, ``gain`` times brighter, in grey."""
    squared = (image - truth).square().mean(dim=0, keepdim=True) * gain
    return squared.clamp(0.0, 1.0).expand(3, -1, -1)


def _thumbnail(image: Float[Tensor, "3 height width"], cell: int):  # noqa: ANN202
    from PIL import Image

    pixels = (image.detach().clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    scale = cell / max(picture.size)
    fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(fitted, Image.Resampling.LANCZOS)
