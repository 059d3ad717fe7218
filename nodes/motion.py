"""Motion From Video: a clip, followed."""

from __future__ import annotations

from functools import partial
from typing import Any

from comfy_api.latest import io

from ..mggtalk_core.errors import InputError
from ..mggtalk_core.motion.video import SMOOTHING, motion_from_sightings, motion_from_video
from .convert import Frames, clip_path
from .curves import curve_sheet
from .landmarks import sightings
from .models import download_input, weights_policy
from .packages import needs_packages
from .preview import show
from .progress import Steps
from .sockets import FACE_LANDMARKS, MOTION, schema


def motion_output() -> io.Output:
    """Return the output that every motion node has."""
    return MOTION.Output("motion", tooltip="Goes into Talking Video, Deform or Mix Motion.")


def fps_input(tooltip: str) -> io.Input:
    """Return the input for a frame rate."""
    return io.Float.Input("fps", default=25.0, min=1.0, max=120.0, step=1.0, tooltip=tooltip)


class MGGMotionFromVideo(io.ComfyNode):
    """A face in a clip, followed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGMotionFromVideo",
            display_name="Motion From Video (MGGTalk)",
            category="MGGTalk/motion",
            description="Follows the largest face of a clip: expression, gaze and head. Connect one of video, images "
            "or face landmarks.",
            search_aliases=["driving video", "face tracking", "expression transfer"],
            inputs=[
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip="A clip with a face, from Load Video. Read a frame at a time, so length costs no memory. "
                    "Its sound goes along into the result.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Frames with a face, one per picture of the batch. Set fps to their rate.",
                ),
                FACE_LANDMARKS.Input(
                    "face_landmarks",
                    optional=True,
                    tooltip="From Detect Face Landmarks: nothing is tracked again. Set fps to the rate of its frames.",
                ),
                fps_input(
                    "Rate of images or landmarks; a wrong one makes the face too fast or too slow. A video has its own."
                ),
                io.Float.Input(
                    "smoothing",
                    default=SMOOTHING,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Seconds of smoothing. 0.02 takes the jitter away; 0.1 also takes quick expressions away.",
                ),
                io.Int.Input(
                    "max_frames",
                    default=0,
                    min=0,
                    max=1_000_000,
                    tooltip="Stops after so many frames; 0 takes all. Handy for a first try.",
                ),
                io.Boolean.Input(
                    "with_sound",
                    default=True,
                    label_on="keep",
                    label_off="drop",
                    tooltip="Whether the clip's sound goes into the talking video.",
                ),
                download_input(),
            ],
            outputs=[motion_output()],
        )

    @classmethod
    @needs_packages
    def execute(
        cls,
        fps: float,
        smoothing: float,
        max_frames: int,
        with_sound: bool,
        video: Any = None,
        images: Any = None,
        face_landmarks: Any = None,
        download: bool = True,
    ) -> io.NodeOutput:
        """Follow the face."""
        if sum(source is not None for source in (video, images, face_landmarks)) != 1:
            raise InputError("Connect exactly one of video, images and face_landmarks.")
        track = partial(
            motion_from_video,
            smoothing=smoothing,
            max_frames=max_frames or None,
            with_sound=with_sound,
            on_step=Steps(),
        )
        with weights_policy(download):
            if video is not None:
                with clip_path(video) as path:
                    motion = track(path)
            elif images is not None:
                motion = track(Frames(images), fps=fps)
            else:
                seen = sightings(face_landmarks, max_frames or None)
                motion = motion_from_sightings(seen, fps, smoothing=smoothing, on_step=Steps())
        return io.NodeOutput(motion, ui=show(curve_sheet(motion), cls))
