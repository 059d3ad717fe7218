"""Where our own types live between the nodes."""

from __future__ import annotations

import torch
from comfy.model_management import get_torch_device

from ..mggtalk_core.render.rasterize import available_backends

GPU_BACKENDS = ("gsplat", "warp")


def render_device(backend: str) -> torch.device:
    """Return ComfyUI's compute device where the rasteriser draws on it, else the CPU, where numba draws."""
    device = get_torch_device()
    if device.type != "cuda":
        return torch.device("cpu")
    chosen = available_backends(device)[0] if backend == "auto" else backend
    return device if chosen in GPU_BACKENDS else torch.device("cpu")
