"""Cameras for the frames: the portrait's own, or one that goes round the head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comfy_api.latest import io

from ..mggtalk_core.gaussians.predict import AnalyticSequence
from ..mggtalk_core.head.camera import Camera
from ..mggtalk_core.render.cameras import orbit


def view_inputs() -> list[io.Input]:
    """Return the inputs that place the camera."""
    return [
        io.Float.Input(
            "orbit_yaw",
            default=0.0,
            min=-180.0,
            max=180.0,
            step=1.0,
            tooltip="Moves the camera round the head, degrees; + to the subject's left. 0 is the portrait's own "
            "view, the only one that Inpaint can put back.",
        ),
        io.Float.Input(
            "orbit_pitch",
            default=0.0,
            min=-80.0,
            max=80.0,
            step=1.0,
            tooltip="Moves the camera up round the head, degrees.",
        ),
        io.Float.Input(
            "orbit_turn",
            default=0.0,
            min=-720.0,
            max=720.0,
            step=5.0,
            tooltip="Degrees that the camera travels round the head from the first to the last frame: 60 with yaw "
            "-30 is a sweep from right to left.",
        ),
        io.Int.Input(
            "size",
            default=512,
            min=64,
            max=2048,
            step=16,
            tooltip="Edge of the pictures. Twice the size takes four times the memory and about twice the time; no "
            "detail is gained beyond the portrait's own.",
        ),
    ]


def views(
    sequence: AnalyticSequence, indices: Sequence[int], size: int, yaw: float, pitch: float, turn: float
) -> Callable[[int], Camera]:
    """Return the camera of every chosen frame."""
    last = max(len(indices) - 1, 1)
    angle = {index: yaw + turn * place / last for place, index in enumerate(indices)}

    def camera(index: int) -> Camera:
        own = sequence.camera(index)
        own = own if size == own.width else own.resized(size, size)
        return own if (angle[index], pitch) == (0.0, 0.0) else orbit(own, angle[index], pitch)

    return camera
