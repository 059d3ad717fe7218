"""Motion From File: a recorded motion."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..mggtalk_core.errors import InputError
from ..mggtalk_core.motion.files import read_motion
from .curves import curve_sheet
from .motion import motion_output
from .packages import needs_packages
from .preview import show
from .sockets import schema

MOTION_ENDINGS = (".csv", ".json")


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
    @needs_packages
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
