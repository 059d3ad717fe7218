"""Inpaint: rendered heads over the picture they came from."""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_management import intermediate_device
from comfy_api.latest import io

from ..mggtalk_core.animate import Framing
from ..mggtalk_core.errors import InputError
from ..mggtalk_core.gaussians.predict import AnalyticSequence
from ..mggtalk_core.portrait.portrait import Portrait
from ..mggtalk_core.render.finish import Finisher
from ..mggtalk_core.render.rendering import from_straight
from .convert import crop_sized, mask_planes, one_picture
from .packages import needs_packages
from .preview import ends, show
from .progress import Steps
from .sockets import GAUSSIANS, PORTRAIT, advanced, schema


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
                    tooltip="What the heads show, frame by frame from the first. Lets the learned inpainter mend rim, "
                    "eyes and mouth, and the torso follow: without it the torso stands still. Leave it out where "
                    "other cameras drew the heads.",
                ),
                learned_input(),
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
        learned: bool = True,
    ) -> io.NodeOutput:
        """Finish the frames."""
        if len(mask_planes(mask)) not in (1, len(image)):
            raise InputError(
                f"There are {len(image)} pictures but {len(mask)} masks: connect both from one Splat Render."
            )
        known = torso if gaussians is not None else "hold"  # nothing tells how the head moves
        finisher = Finisher(portrait, gaussians, torso=known, learned=learned)
        finished = finish_frames(Framing(portrait, framing), image, mask, finisher)
        return io.NodeOutput(finished, ui=show(ends(finished), cls))


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
        default="follow",
        tooltip="follow: neck and shoulders go along with the head, and the background near them bends a little. hold: "
        "they stay still.",
    )


def learned_input() -> io.Input:
    """Return the switch of the learned inpainter."""
    return advanced(
        io.Boolean.Input(
            "learned",
            default=True,
            optional=True,
            label_on="mended",
            label_off="as rendered",
            tooltip="Mends rim, neck, eyes and mouth by a small network (research weights; never used where "
            "MGGTALK_COMMERCIAL_SAFE=1). Off: about twice as fast, with rougher lids and edges.",
        )
    )


def finish_frames(finish: Framing, image: Any, mask: Any, finisher: Finisher) -> torch.Tensor:
    """Return the IMAGE batch of finished frames, made one at a time."""
    on_step, masks = Steps(), mask_planes(mask)
    finished = torch.empty(len(image), finish.height, finish.width, 3, device=intermediate_device())
    for index in range(len(image)):
        colour, alpha = crop_sized(one_picture(image, index)), crop_sized(masks[min(index, len(masks) - 1)])
        picture = finish(finisher(from_straight(colour, alpha), index))
        finished[index] = torch.from_numpy(picture).to(finished) / 255.0
        on_step(index + 1, len(image))
    return finished
