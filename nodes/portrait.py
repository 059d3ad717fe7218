"""Load Portrait: from a picture to what was seen in it."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..mggtalk_core.portrait.load import load_portrait
from ..mggtalk_core.portrait.matte_edit import MatteEdit
from .convert import mask_planes, one_picture, to_image, to_mask
from .models import download_input, weights_policy
from .packages import needs_packages
from .preview import portrait_sheet, show
from .progress import Steps
from .sockets import PORTRAIT, advanced, schema


def matte_inputs() -> list[io.Input]:
    """Return the inputs that mend the head matte."""
    return [
        io.Mask.Input(
            "head_matte",
            optional=True,
            tooltip="Your own matte of the head on the whole picture, in place of the one that is found: for "
            "hats, veils or hair that is cut wrong. White moves with the head.",
        ),
        io.Int.Input(
            "matte_grow",
            default=0,
            min=-64,
            max=64,
            tooltip="Moves the matte's edge outwards, in pixels of the crop; - inwards. Outwards takes stray "
            "hair along, and some background with it.",
        ),
        io.Float.Input(
            "matte_soften",
            default=0.0,
            min=0.0,
            max=32.0,
            step=0.5,
            tooltip="Blurs the matte's edge, in pixels of the crop. Hides a hard cut; too much makes the head glow.",
        ),
    ]


class MGGLoadPortrait(io.ComfyNode):
    """The head in a picture, cut out and measured."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGLoadPortrait",
            display_name="Load Portrait (MGGTalk)",
            category="MGGTalk",
            description="Finds the head in a picture and cuts it out: landmarks, expression, head matte, and the "
            "picture behind the head. Everything else starts here.",
            search_aliases=["talking head", "portrait animation", "face landmarks", "head matte"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The portrait. One face, upright and sharp, at least 32 pixels high; from 400 pixels on "
                    "the result is as fine as it gets. Alpha is laid over white.",
                ),
                io.Int.Input(
                    "face",
                    default=0,
                    min=0,
                    max=31,
                    tooltip="Which face of the picture: 0 is the largest, 1 the next. An index too high stops the "
                    "node.",
                ),
                advanced(
                    io.Int.Input(
                        "picture",
                        default=0,
                        min=0,
                        max=4095,
                        tooltip="Which picture of a batch: 0 is the first. The others are ignored.",
                    )
                ),
                download_input(),
                *matte_inputs(),
            ],
            outputs=[
                PORTRAIT.Output("portrait", tooltip="The head and what is known of it. Goes into every later stage."),
                io.Image.Output(
                    "crop",
                    tooltip="The 512x512 square around the head that all stages work on. Make depth "
                    "or normal maps of this picture, not of the original.",
                ),
                io.Mask.Output("head_mask", tooltip="White where pixels move with the head, soft at hair and neck."),
            ],
        )

    @classmethod
    @needs_packages
    def execute(
        cls,
        image: Any,
        face: int,
        matte_grow: int = 0,
        matte_soften: float = 0.0,
        picture: int = 0,
        download: bool = True,
        head_matte: Any = None,
    ) -> io.NodeOutput:
        """Load the portrait."""
        own = None if head_matte is None else mask_planes(head_matte)[0, 0]
        edit = MatteEdit(matte_grow, matte_soften, own)
        with weights_policy(download):
            portrait = load_portrait(one_picture(image, picture), face=face, matte=edit, on_step=Steps())
        return io.NodeOutput(
            portrait, to_image(portrait.crop), to_mask(portrait.matte), ui=show(portrait_sheet(portrait), cls)
        )
