"""MGGTalk for ComfyUI: the door that ComfyUI knocks at, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"
__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint() -> ComfyExtension:
    """Return the extension that lists the nodes; ComfyUI calls this once, when it starts."""
    from .nodes.extension import MGGTalkExtension  # here, so that importing the package needs no ComfyUI

    return MGGTalkExtension()
