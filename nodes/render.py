"""Splat Render: the Gaussians as pictures."""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_management import intermediate_device
from comfy_api.latest import io
from torch import Tensor

from ..mggtalk_core.errors import InputError
from ..mggtalk_core.pipeline import Settings, renderings
from .convert import to_image, to_mask
from .devices import render_device
from .frames import frame_range, range_inputs
from .gaussians import backend_input
from .packages import needs_packages
from .painted import OF_OUR_OWN, extras_of, painted, view_input
from .preview import ends, show
from .progress import Steps
from .sockets import GAUSSIANS, SPLAT, schema
from .splats import SplatSequence
from .views import Move, Shots, shots, view_inputs


class MGGSplatRender(io.ComfyNode):
    """The Gaussians as pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGSplatRender",
            display_name="Splat Render (MGGTalk)",
            category="MGGTalk/stages",
            description="Renders the head alone, frame by frame, as the portrait's camera sees it or from another "
            "side. Draws any other splat as well.",
            search_aliases=["gaussian splatting", "rasterize", "novel view", "orbit", "turntable", "camera path"],
            inputs=[
                io.MultiType.Input(
                    "gaussians",
                    types=[GAUSSIANS, SPLAT],
                    tooltip="From Gaussian Predict, or any splat of ComfyUI, which is then seen from the front.",
                ),
                *range_inputs(
                    0,
                    "A still is repeated so often, for a camera that moves. At 512 pixels a frame takes 7 MB, 10 "
                    "seconds 1.8 GB: for long clips use Talking Video.",
                ),
                view_input(),
                *view_inputs(),
                backend_input(),
            ],
            outputs=[
                io.Image.Output(
                    "image", tooltip="The head alone, black where nothing is; colours are whole at soft edges."
                ),
                io.Mask.Output("mask", tooltip="How much the head covers each pixel. Inpaint needs it."),
                io.Image.Output("depth", tooltip="Depth of the head, near = white, the same scale in all frames."),
            ],
        )

    @classmethod
    @needs_packages
    def execute(
        cls,
        gaussians: Any,
        start: int,
        count: int,
        step: int,
        size: int,
        view: str = "colour",
        backend: str = "auto",
        camera_info: Any = None,
        **move: Any,
    ) -> io.NodeOutput:
        """Render the frames."""
        sequence = gaussians if hasattr(gaussians, "frame") else SplatSequence(gaussians, render_device(backend))
        if view in OF_OUR_OWN and isinstance(sequence, SplatSequence):
            raise InputError(f"A splat from elsewhere has no {view}: connect Gaussian Predict, or view its colour.")
        chosen = frame_range(len(sequence), start, count, step)
        chosen = [start] * count if len(sequence) == 1 and count else chosen
        image, mask, depth = draw(shots(sequence, chosen, size, Move(**move), camera_info), size, view, backend)
        grey = nearness(depth)[..., None].expand(-1, -1, -1, 3)
        image = grey if view == "depth" else image
        return io.NodeOutput(image, mask, grey, ui=show(ends(image) * ends(mask)[..., None], cls))


def draw(taken: Shots, size: int, view: str, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return IMAGE, MASK and camera depth [b,h,w] of every shot."""
    count, device, on_step = len(taken), intermediate_device(), Steps()
    image = torch.empty(count, size, size, 3, device=device)
    mask = torch.empty(count, size, size, device=device)
    depth = torch.empty(count, size, size, device=device)
    drawn = renderings(taken, range(count), settings=Settings(backend=backend))
    for place, (rendering, extras) in enumerate(zip(drawn, extras_of(taken, view, backend), strict=True)):
        image[place : place + 1] = to_image(painted(rendering, extras))
        mask[place : place + 1] = to_mask(rendering.alpha)
        depth[place] = rendering.depth[0]
        on_step(place + 1, count)
    return image, mask, depth


def nearness(depth: torch.Tensor) -> torch.Tensor:
    """Return depth [b,h,w] as grey: nearest white, farthest nearly black, 0 where nothing is."""
    seen = depth > 0.0
    if not bool(seen.any()):
        return depth
    near, far = depth[seen].min(), depth.max()
    return torch.where(seen, 1.0 - 0.95 * (depth - near) / (far - near).clamp(min=1e-6), depth)
