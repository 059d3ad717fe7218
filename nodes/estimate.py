"""What a clip will take, said before the work starts."""

from __future__ import annotations

import logging

from comfy_api.latest import io

_log = logging.getLogger(__name__)

WORK_MB = 600.0
"""Memory of one head being reconstructed and rendered, beyond what ComfyUI itself takes; measured."""
SECONDS_A_FRAME = 0.1
"""On two cores without a GPU; others are faster."""
SECONDS_A_HEAD = 5.0
PICTURES_AT_ONCE = 12
"""Pictures of the output's size that are alive at a time: source, detail and frames in several stages of work."""


def peak_mb(width: int, height: int, sound_bytes: int) -> float:
    """Return the memory in MB that the clip takes on top of what is in use; its length does not enter."""
    return WORK_MB + PICTURES_AT_ONCE * width * height * 12 / 2**20 + sound_bytes / 2**20


def statement(frames: int, fps: float, width: int, height: int, sound_bytes: int) -> str:
    """Return the announcement: frames, seconds of clip and of work, peak memory."""
    work = SECONDS_A_HEAD + frames * SECONDS_A_FRAME
    memory = peak_mb(width, height, sound_bytes)
    return (
        f"{frames} frames of {width}x{height}, {frames / fps:.1f} s at {fps:g} per second: about {work:.0f} s of work "
        f"on two cores and {memory:.0f} MB of memory, whatever the length"
    )


def say(text: str, cls: type[io.ComfyNode]) -> None:
    """Write a line into the log and, where the front end can show it, onto the node."""
    _log.info("%s", text)
    try:
        from server import PromptServer
    except ImportError:
        return
    server, node = getattr(PromptServer, "instance", None), getattr(cls.hidden, "unique_id", None)
    if node is not None and hasattr(server, "send_progress_text"):
        server.send_progress_text(text, node)
