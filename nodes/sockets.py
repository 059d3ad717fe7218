"""The types on the sockets: ours, and those of ComfyUI that only newer cores name."""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io

PORTRAIT = io.Custom("MGG_PORTRAIT")
SURFACE = io.Custom("MGG_SURFACE")
POINTS = io.Custom("MGG_POINTS")
MOTION = io.Custom("MGG_MOTION")
DRIVEN = io.Custom("MGG_DRIVEN")
GAUSSIANS = io.Custom("MGG_GAUSSIANS")

FACE_LANDMARKS = io.Custom("FACE_LANDMARKS")
MOGE_GEOMETRY = io.Custom("MOGE_GEOMETRY")
DA3_GEOMETRY = io.Custom("DA3_GEOMETRY")
SPLAT = io.Splat if hasattr(io, "Splat") else io.Custom("SPLAT")
CAMERA = io.Custom("LOAD3D_CAMERA")

_KNOWN = {field.name for field in dataclasses.fields(io.Schema)}


def schema(**fields: Any) -> io.Schema:
    """Return a schema made of the fields that this ComfyUI knows."""
    return io.Schema(**{name: value for name, value in fields.items() if name in _KNOWN})


def advanced(node_input: io.Input) -> io.Input:
    """Mark an input that few need; older cores, which show every input, ignore it."""
    node_input.advanced = True
    return node_input
