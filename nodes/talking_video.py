"""Talking Video: portrait and motion become a clip, written as it is made."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import InputImpl, io, ui

from ..mggtalk_core.animate import Framing, shorten, write_frames
from ..mggtalk_core.clock import StageClock
from ..mggtalk_core.media.sound import Sound
from ..mggtalk_core.motion.motion import Motion
from ..mggtalk_core.pipeline import Settings, build_head, drive
from ..mggtalk_core.portrait.portrait import Portrait
from .convert import to_sound
from .deform import retarget_inputs
from .devices import render_device
from .estimate import say, statement
from .gaussians import backend_input
from .inpaint import framing_input, learned_input, torso_input
from .packages import needs_packages
from .progress import Steps
from .sockets import MOTION, PORTRAIT, advanced, schema

_log = logging.getLogger(__name__)


class MGGTalkingVideo(io.ComfyNode):
    """The whole pipeline in one node, in flat memory."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return schema(
            node_id="MGGTalkingVideo",
            display_name="Talking Video (MGGTalk)",
            category="MGGTalk",
            description="Makes the talking head in one go and writes it into a file frame by frame: ten minutes take "
            "no more memory than ten seconds. Connect Save Video to keep the result.",
            search_aliases=["talking head", "lip sync", "animate portrait", "avatar"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                PORTRAIT.Input("portrait", tooltip="From Load Portrait."),
                MOTION.Input(
                    "motion",
                    tooltip="From any Motion node, Expression Rig or Mix Motion; it gives length and frame rate.",
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="Sound of the clip, in place of that of the motion. It moves nothing: for that use "
                    "Motion From Audio. Cut where the motion ends.",
                ),
                *retarget_inputs(),
                framing_input(),
                torso_input(),
                advanced(
                    io.Int.Input(
                        "size",
                        default=512,
                        min=64,
                        max=2048,
                        step=16,
                        tooltip="Edge of the picture with framing = crop; 512 is what is rendered, others are resized.",
                    )
                ),
                io.Int.Input(
                    "max_frames",
                    default=0,
                    min=0,
                    max=1_000_000,
                    tooltip="Stops after so many frames; 0 makes all. Handy for a first try.",
                ),
                backend_input(),
                learned_input(),
            ],
            outputs=[
                io.Video.Output(
                    "video", tooltip="The clip, H.264 with sound, in ComfyUI's temp folder until Save Video keeps it."
                )
            ],
        )

    @classmethod
    @needs_packages
    def execute(
        cls,
        portrait: Portrait,
        motion: Motion,
        reference: str,
        strength: float,
        yaw: float,
        pitch: float,
        framing: str,
        torso: str,
        max_frames: int,
        audio: Any = None,
        size: int = 512,
        backend: str = "auto",
        learned: bool = True,
    ) -> io.NodeOutput:
        """Make the clip."""
        settings = Settings(
            backend=backend, torso=torso, reference=reference, strength=strength, yaw=yaw, pitch=pitch, learned=learned
        )
        motion = motion if audio is None else replace(motion, sound=to_sound(audio))
        motion = shorten(motion, max_frames) if max_frames else motion
        path = write_talking_video(portrait, motion, Framing(portrait, framing, size), settings, cls)
        shown = ui.SavedResult(path.name, "", io.FolderType.temp)
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)), ui=ui.PreviewVideo([shown]))


def write_talking_video(
    portrait: Portrait, motion: Motion, finish: Framing, settings: Settings, cls: type[io.ComfyNode]
) -> Path:
    """Say what it will take, then write the clip into the temp folder and return its path."""
    say(statement(len(motion), motion.fps, finish.width, finish.height, sound_bytes(motion.sound)), cls)
    clock = StageClock()
    head = build_head(portrait, settings, clock=clock, on_step=Steps(0, 10))
    folder, name, counter, _, _ = folder_paths.get_save_image_path("mggtalk", folder_paths.get_temp_directory())
    path = Path(folder) / f"{name}_{counter:05}_.mp4"
    sequence = drive(head, motion, settings).to(render_device(settings.backend))
    write_frames(path, head, sequence, finish, settings, clock=clock, on_step=Steps(10, 100))
    _log.info("seconds per stage: %s", {stage: round(seconds, 2) for stage, seconds in clock.seconds.items()})
    return path


def sound_bytes(sound: Sound | None) -> int:
    """Return the memory that a sound's samples take."""
    return 0 if sound is None else sound.samples.nbytes
