"""Motion files: Live Link Face CSV and the project's own JSON."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError
from .live_link import read_live_link
from .motion import Motion
from .motion_json import read_motion_json, write_motion_json


def read_motion(path: str | os.PathLike[str]) -> Motion:
    """Read a motion file: ``.csv`` is Live Link Face's, anything else must be the project's JSON.

    Raises:
        InputError: no such file, or one that is damaged or lacks columns.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise InputError(f"No motion file at {path}; check the path.")
    return read_live_link(path) if path.suffix.lower() == ".csv" else read_motion_json(path)


def write_motion(path: str | os.PathLike[str], motion: Motion) -> None:
    """Write a motion as the project's JSON (see `motion_json`).

    Raises:
        InputError: the place cannot be written.
    """
    write_motion_json(Path(path), motion)
