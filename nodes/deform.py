"""Deform: the points of the head, driven by a motion."""

from __future__ import annotations

from comfy_api.latest import io

from ..mggtalk_core.geometry.points import HeadPoints
from ..mggtalk_core.motion.motion import Motion
from ..mggtalk_core.motion.retarget import REFERENCES
from ..mggtalk_core.pipeline import Settings, driven_points
from .packages import needs_packages
from .sockets import DRIVEN, MOTION, POINTS, schema


def retarget_inputs() -> list[io.Input]:
    """Return the inputs that say how a driver's motion becomes the portrait's."""
    return [
        io.Combo.Input(
            "reference",
            options=list(REFERENCES),
            default="first",
            tooltip="What the motion is measured from. first: its first frame, so the clip starts as the portrait "
            "is. neutral: the driver's face at rest. absolute: the driver's face as it is; the portrait's own "
            "smile is lost.",
        ),
        io.Float.Input(
            "strength",
            default=1.0,
            min=0.0,
            max=4.0,
            step=0.05,
            tooltip="1 as driven, 0 still, above 1 exaggerated; above 2 a face looks strained.",
        ),
        io.Float.Input(
            "yaw",
            default=0.0,
            min=-90.0,
            max=90.0,
            step=1.0,
            tooltip="Turns the whole head in addition, degrees; + to the subject's left. Beyond 45 the guessed side "
            "shows.",
        ),
        io.Float.Input(
            "pitch",
            default=0.0,
            min=-90.0,
            max=90.0,
            step=1.0,
            tooltip="Lifts the chin in addition, degrees; - lowers it.",
        ),
    ]


class MGGDeform(io.ComfyNode):
    """Points in motion (paper D.2)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGDeform",
            display_name="Deform (MGGTalk)",
            category="MGGTalk/stages",
            description="Retargets a motion onto the portrait's face and binds the points to it. Frames are computed "
            "when they are rendered, so a long motion costs no memory here.",
            search_aliases=["retarget", "drive", "animate points"],
            inputs=[
                POINTS.Input("points", tooltip="From Symmetric Geometry."),
                MOTION.Input("motion", tooltip="From any Motion node, Expression Rig or Mix Motion."),
                *retarget_inputs(),
            ],
            outputs=[DRIVEN.Output("driven", tooltip="The points in motion. Goes into Gaussian Predict.")],
        )

    @classmethod
    @needs_packages
    def execute(
        cls, points: HeadPoints, motion: Motion, reference: str, strength: float, yaw: float, pitch: float
    ) -> io.NodeOutput:
        """Drive the points."""
        settings = Settings(reference=reference, strength=strength, yaw=yaw, pitch=pitch)
        return io.NodeOutput(driven_points(points, motion, settings))
