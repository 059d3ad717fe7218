"""Mix Motion: two motions in one."""

from __future__ import annotations

from comfy_api.latest import io

from ..mggtalk_core.motion.channels import REGIONS, SPEECH_REGIONS
from ..mggtalk_core.motion.mix import mix_motions
from ..mggtalk_core.motion.motion import Motion
from ..mggtalk_core.motion.timing import EXTENSIONS
from .curves import curve_sheet
from .motion import motion_output
from .packages import needs_packages
from .preview import show
from .sockets import MOTION, schema


class MGGMixMotion(io.ComfyNode):
    """Two motions in one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGMixMotion",
            display_name="Mix Motion (MGGTalk)",
            category="MGGTalk/motion",
            description="Joins two motions region by region. As it comes, the second - a voice - moves jaw and mouth "
            "and the first - a clip or a rig - all the rest.",
            search_aliases=["blend", "combine", "dub"],
            inputs=[
                MOTION.Input("first", tooltip="Gives everything whose weight is 0, and the frame rate."),
                MOTION.Input("second", tooltip="Gives what has a weight; brought to the rate of the first."),
                *(weight_input(region) for region in REGIONS),
                io.Combo.Input(
                    "length",
                    options=["first", "second"],
                    default="second",
                    tooltip="Whose length the result has. second: a voice is spoken to its end.",
                ),
                io.Combo.Input(
                    "continuation",
                    options=list(EXTENSIONS),
                    default="mirror",
                    tooltip="What the shorter one does after its end: hold keeps its last frame, mirror plays it "
                    "back and forth.",
                ),
            ],
            outputs=[motion_output()],
        )

    @classmethod
    @needs_packages
    def execute(
        cls,
        first: Motion,
        second: Motion,
        length: str,
        continuation: str,
        eyes: float,
        brows: float,
        jaw: float,
        mouth: float,
        cheeks: float,
        nose: float,
        gaze: float,
        head: float,
    ) -> io.NodeOutput:
        """Mix the motions."""
        weights = dict(zip(REGIONS, (eyes, brows, jaw, mouth, cheeks, nose, gaze, head), strict=True))
        motion = mix_motions(first, second, weights, continuation=continuation, length=length)
        return io.NodeOutput(motion, ui=show(curve_sheet(motion), cls))


def weight_input(region: str) -> io.Input:
    """Return the slider that shares one region between two motions."""
    what = {"gaze": "where the eyes look", "head": "turning and moving of the head"}.get(region, f"the {region}")
    return io.Float.Input(
        region,
        default=1.0 if region in SPEECH_REGIONS else 0.0,
        min=0.0,
        max=1.0,
        step=0.05,
        display_mode=io.NumberDisplay.slider,
        tooltip=f"0: {what} as in the first. 1: as in the second.",
    )
