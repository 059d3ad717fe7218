"""Cameras for the frames: the portrait's own, one that goes round the head, or one of ComfyUI's 3D viewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy_api.latest import io

from ..mggtalk_core.gaussians.gaussians import Gaussians
from ..mggtalk_core.gaussians.predict import AnalyticSequence
from ..mggtalk_core.head.camera import Camera
from ..mggtalk_core.render.camera_path import EASINGS, CameraKey, CameraPath
from ..mggtalk_core.render.cameras import HEAD_CENTER, orbit
from .camera_info import FRONT, camera_of
from .sockets import CAMERA, advanced
from .splats import SplatSequence

DEGREES_A_KEY = 10.0
"""So short a way between keys, the camera keeps its height on the way round: the shorter way between two views dips."""


@dataclass(frozen=True)
class Move:
    """The way of the camera from the first to the last picture."""

    orbit_yaw: float = 0.0
    orbit_pitch: float = 0.0
    orbit_turn: float = 0.0
    orbit_rise: float = 0.0
    zoom: float = 1.0
    zoom_end: float = 1.0
    easing: str = "linear"


@dataclass(frozen=True)
class Shots:
    """Chosen frames of a sequence, each with the camera that sees it: a `GaussianSequence` of its own."""

    sequence: AnalyticSequence | SplatSequence
    frames: Sequence[int]
    cameras: Callable[[int], Camera]

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.sequence.fps

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.frames)

    def frame(self, place: int, view: Camera | None = None) -> Gaussians:
        """Return the Gaussians of one picture, as ``view`` will see them; for every side when None."""
        return self.sequence.frame(self.frames[place], view)

    def camera(self, place: int) -> Camera:
        """Return the camera of one picture."""
        return self.cameras(place)


def view_inputs() -> list[io.Input]:
    """Return the inputs that place the camera."""
    return [*_orbit_inputs(), *(advanced(way) for way in _way_inputs()), _size_input(), _camera_input()]


def _orbit_inputs() -> list[io.Input]:
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
    ]


def _way_inputs() -> list[io.Input]:
    zoom = {"default": 1.0, "min": 0.1, "max": 10.0, "step": 0.05}
    return [
        io.Float.Input(
            "orbit_rise",
            default=0.0,
            min=-160.0,
            max=160.0,
            step=1.0,
            tooltip="Degrees that the camera climbs from the first to the last frame.",
        ),
        io.Float.Input("zoom", tooltip="How large the head is in the first frame: 2 shows half as much.", **zoom),
        io.Float.Input("zoom_end", tooltip="How large it is in the last frame; the way there is even.", **zoom),
        io.Combo.Input(
            "easing",
            options=list(EASINGS),
            default="linear",
            tooltip="How the camera travels: linear is even and loops; ease-in-out starts and ends at rest.",
        ),
    ]


def _size_input() -> io.Input:
    return io.Int.Input(
        "size",
        default=512,
        min=64,
        max=2048,
        step=16,
        tooltip="Edge of the pictures. Twice the size takes four times the memory and about twice the time; no "
        "detail is gained beyond the portrait's own.",
    )


def _camera_input() -> io.Input:
    return CAMERA.Input(
        "camera_info",
        optional=True,
        tooltip="From Create Camera Info or a 3D viewer: the camera stands there instead, and orbit and zoom start "
        "from it. The head is at the origin, 10 cm are 1.",
    )


def shots(
    sequence: AnalyticSequence | SplatSequence, frames: Sequence[int], size: int, move: Move, camera_info: Any = None
) -> Shots:
    """Return the frames with their cameras. Frames move in the world that the camera travels through."""
    home, center = _home(sequence)
    start = home.resized(size, size)
    if camera_info is not None:
        start, center = camera_of(camera_info, size)
        home = home.posed(FRONT.to(home.rotation), home.translation)  # the world that To Splat hands out
    path, last = _path(start, center, move), max(len(frames) - 1, 1)

    def camera(place: int) -> Camera:
        own = sequence.camera(frames[place])
        if camera_info is None and move == Move(easing=move.easing):
            return own.resized(size, size)
        seen = path(EASINGS[move.easing](place / last))
        poses = (each.world_to_camera.double().cpu() for each in (seen, home, own))
        view, there, here = poses
        return replace(seen, world_to_camera=(view @ torch.linalg.inv(there) @ here).to(own.world_to_camera))

    return Shots(sequence, frames, camera)


def _home(sequence: AnalyticSequence | SplatSequence) -> tuple[Camera, tuple[float, float, float]]:
    """Return the camera that orbits start from, and what they go round."""
    if isinstance(sequence, SplatSequence):
        return sequence.home, sequence.center
    return sequence.avatar.points.fit.camera, HEAD_CENTER


def _path(start: Camera, center: tuple[float, float, float], move: Move) -> CameraPath:
    pieces = 1 + int(max(abs(move.orbit_turn), abs(move.orbit_rise)) / DEGREES_A_KEY)
    keys = []
    for share in (piece / pieces for piece in range(pieces + 1)):
        yaw, pitch = move.orbit_yaw + share * move.orbit_turn, move.orbit_pitch + share * move.orbit_rise
        focal = start.focal * move.zoom * (move.zoom_end / move.zoom) ** share
        keys.append(CameraKey(share, replace(orbit(start, yaw, pitch, center), focal=focal), "linear"))
    return CameraPath(keys, center)
