"""Expression Rig: a face posed by sliders, pose after pose."""

from __future__ import annotations

from comfy_api.latest import io

from ..mggtalk_core.motion.motion import Motion
from ..mggtalk_core.motion.poses import append_pose
from ..mggtalk_core.motion.rig import EASINGS, motion_from_rig
from .curves import curve_sheet
from .motion import fps_input, motion_output
from .packages import needs_packages
from .preview import show
from .rig_sliders import GAZE, POSE, SHAPES, slider_inputs
from .sockets import MOTION, schema


def timing_inputs() -> list[io.Input]:
    """Return the inputs that say when and how the pose is reached."""
    return [
        MOTION.Input(
            "previous",
            optional=True,
            tooltip="The rig before this one: its last pose is where this one starts. Without it the face "
            "starts as in the portrait.",
        ),
        io.Float.Input(
            "move_seconds",
            default=0.6,
            min=0.0,
            max=60.0,
            step=0.1,
            tooltip="How long the face takes into this pose. 0 starts in it.",
        ),
        io.Float.Input(
            "hold_seconds",
            default=0.6,
            min=0.0,
            max=600.0,
            step=0.1,
            tooltip="How long it then rests; one frame at least.",
        ),
        io.Combo.Input(
            "easing",
            options=list(EASINGS),
            default="smooth",
            tooltip="How it moves: smooth starts and ends slowly, in starts slowly, out ends slowly, linear "
            "is even, step jumps at the end.",
        ),
        fps_input("Frames per second. In a chain that of the first rig counts."),
    ]


class MGGExpressionRig(io.ComfyNode):
    """A pose of the face, and the way to it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGExpressionRig",
            display_name="Expression Rig (MGGTalk)",
            category="MGGTalk/motion",
            description="Poses the face with sliders. All at 0 is the portrait as it is. The face moves into the "
            "pose and rests there; chain several rigs through previous for one pose after the other.",
            search_aliases=["expression editor", "blendshapes", "arkit", "smile", "blink", "key frame"],
            inputs=[
                *timing_inputs(),
                io.Float.Input(
                    "neutralise",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="Takes the portrait's own expression away: at 1 a smiling portrait becomes calm and the "
                    "sliders count from there. Holds for the whole chain.",
                ),
                io.Float.Input(
                    "look_at_camera",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="Keeps the eyes on the camera while the head turns; gaze sliders count from there. Holds "
                    "for the whole chain.",
                ),
                *slider_inputs(),
            ],
            outputs=[motion_output()],
        )

    @classmethod
    @needs_packages
    def execute(
        cls,
        move_seconds: float,
        hold_seconds: float,
        easing: str,
        fps: float,
        neutralise: float,
        look_at_camera: float,
        previous: Motion | None = None,
        **sliders: float,
    ) -> io.NodeOutput:
        """Make the motion."""
        values = {name: sliders.get(name, 0.0) for name in (*POSE, *GAZE)}
        pose = motion_from_rig(
            {name: sliders.get(name, 0.0) for name in SHAPES},
            yaw=values["head_yaw"],
            pitch=values["head_pitch"],
            roll=values["head_roll"],
            translation=(values["head_right"], -values["head_up"], -values["head_near"]),
            gaze_left=(values["gaze_left_yaw"], values["gaze_left_pitch"]),
            gaze_right=(values["gaze_right_yaw"], values["gaze_right_pitch"]),
            neutralise=neutralise,
            look_at_camera=look_at_camera,
            fps=fps,
        )
        motion = append_pose(pose, move=move_seconds, hold=hold_seconds, easing=easing, previous=previous)
        return io.NodeOutput(motion, ui=show(curve_sheet(motion), cls))
