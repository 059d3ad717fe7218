"""What a rendering can show in place of colour: where Gaussians come from, which way they face, how sure they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat

import torch
from comfy_api.latest import io
from jaxtyping import Float
from torch import Tensor

from ..mggtalk_core.gaussians.sequence import GaussianSequence
from ..mggtalk_core.parallel import ordered_map
from ..mggtalk_core.render.extras import Extras, render_extras
from ..mggtalk_core.render.rendering import EMPTY, Rendering, straight_colour

VIEWS = ["colour", "labels", "normals", "confidence", "depth"]
OF_OUR_OWN = ("labels", "confidence")
"""What only Gaussian Predict knows of its Gaussians."""


def view_input() -> io.Input:
    """Return the input that chooses what the pictures show."""
    return io.Combo.Input(
        "view",
        options=VIEWS,
        default="colour",
        tooltip="What the image shows. labels: green was seen in the portrait, orange is mirrored, red is inside mouth "
        "and eyes, blue is the skin behind, yellow fills between. normals: an OpenGL normal map. confidence: white is "
        "sure, dark is guessed. depth: near is white. All but colour and depth take twice the time.",
    )


def extras_of(sequence: GaussianSequence, view: str, backend: str) -> Iterator[Extras | None]:
    """Yield what a view needs beside colour, frame by frame; None where it needs nothing."""
    if view in ("colour", "depth"):
        return repeat(None, len(sequence))

    def paint(index: int) -> Extras:
        camera = sequence.camera(index)
        return render_extras(sequence.frame(index, camera), camera, backend=backend, **{view: True})

    return ordered_map(paint, range(len(sequence)))


def painted(rendering: Rendering, extras: Extras | None) -> Float[Tensor, "3 height width"]:
    """Return the picture of one frame, black where nothing is."""
    if extras is None:
        return straight_colour(rendering)
    if extras.normals is not None:
        flip = extras.normals.new_tensor((1.0, -1.0, -1.0))[:, None, None]
        return torch.where(rendering.alpha > EMPTY, 0.5 + 0.5 * extras.normals * flip, torch.zeros_like(flip))
    values = extras.confidence.expand(3, -1, -1) if extras.labels is None else extras.labels
    return straight_colour(replace(rendering, rgb=values))
