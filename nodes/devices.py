"""Where our own types live between the nodes."""

from __future__ import annotations

import torch
from comfy.model_management import get_torch_device

from ..mggtalk_core.render.rasterize import available_backends


def render_device(backend: str) -> torch.device:
    """Return ComfyUI's compute device where the rasteriser can draw on it, else the CPU, where numba draws."""
    device = get_torch_device()
    on_gpu = device.type == "cuda" and backend in ("auto", "gsplat") and "gsplat" in available_backends()
    return device if on_gpu else torch.device("cpu")
