"""Graphs that show on the pages of help what no example shows."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from mggtalk_core.motion.files import write_motion
from mggtalk_core.motion.rig import motion_from_rig

from .prompts import Prompt, node, stages

RECORDING = "take1.json"
"""The motion file that Motion From File reads."""
FRAMES = 75


def write_recording(folder: Path) -> Path:
    """Write three seconds of a nodding, blinking head that opens its mouth; return the path."""
    time = torch.arange(FRAMES) / 25.0
    blink = torch.exp(-(((time % 1.5) - 0.7) ** 2) / 0.003)
    speech = 0.2 * (1.0 - torch.cos(2.0 * math.pi * 2.0 * time))
    motion = motion_from_rig(
        {"jawOpen": speech, "eyeBlinkLeft": blink, "eyeBlinkRight": blink},
        pitch=4.0 * torch.sin(2.0 * math.pi * time / 3.0),
        frames=FRAMES,
    )
    path = folder / RECORDING
    write_motion(path, motion)
    return path


def help_prompt() -> tuple[Prompt, dict[str, tuple[str, ...]]]:
    """Return a graph, and the nodes of it whose pictures stand on the page of each kind of node."""
    prompt = {
        **stages(0.8, jawOpen=0.6),
        "file": node("MGGMotionFromFile", file=RECORDING),
        "voice": node("LoadAudio", audio="mggtalk_speech.ogg"),
        "spoken": node("MGGMotionFromAudio", audio=["voice", 0]),
        "mixed": node("MGGMixMotion", first=["file", 0], second=["spoken", 0]),
        "driven view": node("MGGSplatRender", gaussians=["gaussians", 0]),
        "turned view": node("MGGSplatRender", gaussians=["gaussians", 0], orbit_yaw=35.0),
        "raised view": node("MGGSplatRender", gaussians=["gaussians", 0], orbit_yaw=-35.0, orbit_pitch=15.0),
        # ComfyUI runs nothing that no output needs.
        "talk": node("MGGTalkingVideo", portrait=["portrait", 0], motion=["mixed", 0], max_frames=1),
        **{f"keep {view}": node("PreviewImage", images=[f"{view} view", 0]) for view in ("driven", "turned", "raised")},
    }
    shown = {
        "MGGMotionFromFile": ("file",),
        "MGGMixMotion": ("mixed",),
        "MGGDeform": ("driven view",),
        "MGGGaussianPredict": ("turned view", "raised view"),
    }
    return prompt, shown
