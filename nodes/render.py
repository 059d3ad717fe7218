"""Splat Render and Inpaint: the head in pictures, and the pictures finished."""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_management import intermediate_device
from comfy_api.latest import io
from torch import Tensor

from ..mggtalk_core.animate import Framing
from ..mggtalk_core.errors import InputError
from ..mggtalk_core.gaussians.predict import AnalyticSequence
from ..mggtalk_core.pipeline import Settings, renderings
from ..mggtalk_core.portrait.portrait import Portrait
from ..mggtalk_core.render.composite import Compositor
from ..mggtalk_core.render.rendering import from_straight
from .convert import crop_sized, mask_planes, one_picture, to_image, to_mask
from .devices import render_device
from .frames import frame_range, range_inputs
from .gaussians import backend_input
from .packages import needs_packages
from .painted import OF_OUR_OWN, extras_of, painted, view_input
from .preview import ends, show
from .progress import Steps
from .sockets import GAUSSIANS, PORTRAIT, SPLAT, schema
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


class MGGInpaint(io.ComfyNode):
    """The head over the picture it came from (paper D.5)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGInpaint",
            display_name="Inpaint (MGGTalk)",
            category="MGGTalk/stages",
            description="Puts rendered heads over the picture behind the head, closes small gaps, and pastes the "
            "result back into the portrait at its own resolution.",
            search_aliases=["composite", "paste back"],
            inputs=[
                PORTRAIT.Input(
                    "portrait", tooltip="From Load Portrait: what is behind the head, and the picture to paste into."
                ),
                io.Image.Input(
                    "image",
                    tooltip="Heads from Splat Render, seen by the portrait's own camera. Other sizes are "
                    "resized to 512. Diffusion nodes may work on them first.",
                ),
                io.Mask.Input(
                    "mask", tooltip="The mask of the same frames from Splat Render; a single one serves all."
                ),
                framing_input(),
                torso_input(),
                GAUSSIANS.Input(
                    "gaussians",
                    optional=True,
                    tooltip="Only for torso = follow: tells how the head moves. Frames are counted from the first.",
                ),
            ],
            outputs=[io.Image.Output("frames", tooltip="The finished frames.")],
        )

    @classmethod
    @needs_packages
    def execute(
        cls,
        portrait: Portrait,
        image: Any,
        mask: Any,
        framing: str,
        torso: str,
        gaussians: AnalyticSequence | None = None,
    ) -> io.NodeOutput:
        """Finish the frames."""
        if len(mask_planes(mask)) not in (1, len(image)):
            raise InputError(
                f"There are {len(image)} pictures but {len(mask)} masks: connect both from one Splat Render."
            )
        finished = finish_frames(portrait, image, mask, framing, torso, gaussians)
        return io.NodeOutput(finished, ui=show(ends(finished), cls))


def finish_frames(
    portrait: Portrait, image: Any, mask: Any, framing: str, torso: str, gaussians: AnalyticSequence | None
) -> torch.Tensor:
    """Return the IMAGE batch of finished frames, made one at a time."""
    finish, on_step, masks = Framing(portrait, framing), Steps(), mask_planes(mask)
    source = None if gaussians is None else gaussians.avatar.points.fit.camera
    compositor = Compositor(portrait, source, torso=torso)
    finished = torch.empty(len(image), finish.height, finish.width, 3, device=intermediate_device())
    for index in range(len(image)):
        colour, alpha = crop_sized(one_picture(image, index)), crop_sized(masks[min(index, len(masks) - 1)])
        camera = None if gaussians is None else gaussians.camera(min(index, len(gaussians) - 1))
        picture = finish(compositor(from_straight(colour, alpha), camera))
        finished[index] = torch.from_numpy(picture).to(finished) / 255.0
        on_step(index + 1, len(image))
    return finished


def nearness(depth: torch.Tensor) -> torch.Tensor:
    """Return depth [b,h,w] as grey: nearest white, farthest nearly black, 0 where nothing is."""
    seen = depth > 0.0
    if not bool(seen.any()):
        return depth
    near, far = depth[seen].min(), depth.max()
    return torch.where(seen, 1.0 - 0.95 * (depth - near) / (far - near).clamp(min=1e-6), depth)


def framing_input() -> io.Input:
    """Return the input that says whether the whole picture is wanted or the head alone."""
    return io.Combo.Input(
        "framing",
        options=["source", "crop"],
        default="source",
        tooltip="source: the whole portrait at its own size. crop: the 512x512 square around the head.",
    )


def torso_input() -> io.Input:
    """Return the input that says what the shoulders do."""
    return io.Combo.Input(
        "torso",
        options=["hold", "follow"],
        default="hold",
        tooltip="hold: neck and shoulders stay still; right for small movements. follow: they go along with the head, "
        "and the background near them bends a little.",
    )
