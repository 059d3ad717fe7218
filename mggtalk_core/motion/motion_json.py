"""The project's own motion file: JSON with a version, every value exact.

Schema, version 1: ``format`` "mggtalk-motion", ``version``, ``kind``, ``fps``, ``eye_distance``, ``speech``, ``held``
(frame numbers), ``blendshapes`` (the 52 names, in the order of the columns), ``frames`` with ``beta`` [T][52], ``gaze``
[T][4], ``rotation`` [T][9] (row by row) and ``translation`` [T][3], ``rest`` and ``start`` (null or a state) with the
same four for one frame. Optional: ``look``, and ``neutral`` (null or [52]). Units are those of `Motion`. The sound is
not part of the file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..portrait.blendshapes import BLENDSHAPES
from .motion import Motion, Rest

FORMAT = "mggtalk-motion"
VERSION = 1
_SHAPES = {"beta": (52,), "gaze": (4,), "rotation": (3, 3), "translation": (3,)}


def write_motion_json(path: Path, motion: Motion) -> None:
    """Write a motion without its sound; the file appears whole or not at all.

    Raises:
        InputError: the place cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "kind": motion.kind,
        "fps": motion.fps,
        "eye_distance": motion.eye_distance,
        "speech": motion.speech,
        "look": motion.look,
        "neutral": None if motion.neutral is None else motion.neutral.tolist(),
        "held": list(motion.held),
        "blendshapes": list(BLENDSHAPES),
        "rest": _state(motion.rest),
        "start": None if motion.start is None else _state(motion.start),
        "frames": _state(motion),
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            partial.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror}); choose another place.") from error


def read_motion_json(path: Path) -> Motion:
    """Read a motion that `write_motion_json` has written; every value comes back bit for bit.

    Raises:
        InputError: not such a file, another version, or one that is damaged.
    """
    content = _load(path)
    try:
        frames = _tensors(content["frames"], (len(content["frames"]["beta"]),))
        start = content["start"]
        motion = Motion(
            **frames,
            fps=float(content["fps"]),
            rest=Rest(**_tensors(content["rest"], ())),
            eye_distance=float(content["eye_distance"]),
            kind=str(content["kind"]),
            held=tuple(int(frame) for frame in content["held"]),
            start=None if start is None else Rest(**_tensors(start, ())),
            speech=float(content["speech"]),
            neutral=_neutral(content.get("neutral")),
            look=float(content.get("look", 0.0)),
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is damaged ({error}); write the motion again.") from error
    if not (len(motion) and motion.fps > 0.0 and motion.eye_distance > 0.0):
        raise InputError(f"{path} holds no frames, or no positive fps and eye_distance; write the motion again.")
    return motion


def _neutral(shares: list[float] | None) -> Tensor | None:
    return None if shares is None else torch.tensor(shares, dtype=torch.float32).reshape(len(BLENDSHAPES))


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a motion file; give a Live Link Face .csv or a motion .json.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is not a motion file; its 'format' should be {FORMAT!r}.")
    if content.get("version") != VERSION:
        raise InputError(f"{path} has version {content.get('version')!r}; this program reads version {VERSION}.")
    if content.get("blendshapes") != list(BLENDSHAPES):
        raise InputError(f"{path} does not list the 52 blendshapes in their order; write the motion again.")
    return content


def _state(state: Motion | Rest) -> dict[str, Any]:
    """Return the four tensors as nested lists, matrices as rows of nine; float32 survives the decimal text exactly."""
    values = {name: getattr(state, name).detach().cpu() for name in _SHAPES}
    values["rotation"] = values["rotation"].flatten(-2)
    return {name: value.tolist() for name, value in values.items()}


def _tensors(state: dict[str, Any], lead: tuple[int, ...]) -> dict[str, Tensor]:
    tensors = {}
    for name, shape in _SHAPES.items():
        value = torch.tensor(state[name], dtype=torch.float32).reshape(*lead, *shape)
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} holds values that are not finite")
        tensors[name] = value
    return tensors
