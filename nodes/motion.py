"""Where motion comes from: a clip, a voice, a file; and two of them in one."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..mggtalk_core.errors import InputError
from ..mggtalk_core.motion.audio import motion_from_audio
from ..mggtalk_core.motion.channels import REGIONS, SPEECH_REGIONS
from ..mggtalk_core.motion.files import read_motion
from ..mggtalk_core.motion.mix import mix_motions
from ..mggtalk_core.motion.motion import Motion
from ..mggtalk_core.motion.timing import EXTENSIONS
from ..mggtalk_core.motion.video import SMOOTHING, motion_from_sightings, motion_from_video
from .convert import Frames, clip_path, to_sound
from .curves import curve_sheet
from .landmarks import sightings
from .models import weights_policy
from .preview import show
from .progress import Steps
from .sockets import FACE_LANDMARKS, MOTION, advanced, schema

MOTION_ENDINGS = (".csv", ".json")


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
                    tooltip="Seconds of smoothing. 0.03 takes the jitter away; 0.1 also takes quick expressions away.",
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
                advanced(
                    io.Boolean.Input(
                        "download",
                        default=True,
                        label_on="when missing",
                        label_off="never",
                        tooltip="Fetch the face networks once if they are not in models/mggtalk. Never: the node "
                        "stops and names the missing file instead.",
                    )
                ),
            ],
            outputs=[motion_output()],
        )

    @classmethod
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


class MGGMotionFromAudio(io.ComfyNode):
    """A voice, heard."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGMotionFromAudio",
            display_name="Motion From Audio (MGGTalk)",
            category="MGGTalk/motion",
            description="Lets a voice move the mouth, with blinks, glances and small movements of the head.",
            search_aliases=["lip sync", "speech", "talking"],
            inputs=[
                io.Audio.Input(
                    "audio",
                    tooltip="Speech, any rate, mono or stereo; of a batch the first. Music moves the mouth too.",
                ),
                fps_input("Frames per second of the result. 25 suits speech; 50 doubles the work."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFF,
                    control_after_generate=False,
                    tooltip="Of blinks, glances and the sway of the head: the same seed gives the same movements.",
                ),
                io.Float.Input(
                    "head_motion",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.1,
                    tooltip="How lively head, eyes and brows are. 0 keeps them still.",
                ),
                io.Float.Input(
                    "blink_rate",
                    default=16.0,
                    min=0.0,
                    max=60.0,
                    step=1.0,
                    tooltip="Blinks a minute; 0 for none, which soon looks uncanny.",
                ),
                advanced(
                    io.Boolean.Input(
                        "phonemes",
                        default=True,
                        label_on="when installed",
                        label_off="loudness only",
                        tooltip="Recognise sounds where pocketsphinx is installed (pip install pocketsphinx). "
                        "Otherwise only loudness opens the mouth.",
                    )
                ),
            ],
            outputs=[motion_output()],
        )

    @classmethod
    def execute(
        cls, audio: Any, fps: float, seed: int, head_motion: float, blink_rate: float, phonemes: bool = True
    ) -> io.NodeOutput:
        """Hear the voice."""
        motion = motion_from_audio(
            to_sound(audio),
            fps,
            seed,
            phonemes=phonemes,
            blink_rate=blink_rate,
            head_motion=head_motion,
            on_step=Steps(),
        )
        return io.NodeOutput(motion, ui=show(curve_sheet(motion), cls))


class MGGMotionFromFile(io.ComfyNode):
    """A recorded motion."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGMotionFromFile",
            display_name="Motion From File (MGGTalk)",
            category="MGGTalk/motion",
            description="Reads a recording of Live Link Face (CSV) or a motion file of MGGTalk (JSON) from ComfyUI's "
            "input folder.",
            search_aliases=["live link face", "arkit", "csv", "blendshapes"],
            inputs=[
                io.String.Input(
                    "file",
                    default="",
                    placeholder="take1.csv",
                    tooltip="Name of a .csv or .json file in ComfyUI's input folder, subfolders included. Places "
                    "outside of it are refused.",
                ),
            ],
            outputs=[motion_output()],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        """Refuse names that cannot be read, before anything runs; a name that another node makes is not known yet."""
        try:
            _ = file is None or input_file(file)
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str | None) -> str:
        """Read again when the file has changed."""
        if file is None:
            return ""
        state = input_file(file).stat()
        return f"{state.st_mtime_ns} {state.st_size}"

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Read the file."""
        motion = read_motion(input_file(file))
        return io.NodeOutput(motion, ui=show(curve_sheet(motion), cls))


def input_file(name: str) -> Path:
    """Return the path of a motion file in ComfyUI's input folder.

    Raises:
        InputError: no name, another ending, a place outside the folder, or no such file.
    """
    folder = os.path.abspath(folder_paths.get_input_directory())
    path = Path(os.path.abspath(os.path.join(folder, name)))
    if not name.strip() or "\0" in name or path.suffix.lower() not in MOTION_ENDINGS:
        raise InputError(
            f"{name!r} is no motion file: give the name of a .csv or .json file in ComfyUI's input folder."
        )
    if not path.is_relative_to(folder):
        raise InputError(f"{name!r} lies outside ComfyUI's input folder: copy it into that folder.")
    if not path.is_file():
        raise InputError(f"There is no {name!r} in ComfyUI's input folder: copy it there, or check the name.")
    return path


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
    def execute(cls, first: Motion, second: Motion, length: str, continuation: str, **weights: float) -> io.NodeOutput:
        """Mix the motions."""
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
