"""Networks in the care of ComfyUI, which moves models off the GPU when others need its memory."""

from __future__ import annotations

import torch
from torch import nn

_PATCHER = "_mggtalk_patcher"


def place_by_comfyui(network: nn.Module, device: torch.device) -> None:
    """Have ComfyUI load a whole network to ``device``, and free it from there as it frees its own."""
    from comfy.model_management import load_models_gpu, unet_offload_device
    from comfy.model_patcher import ModelPatcher

    patcher = network.__dict__.get(_PATCHER)
    if patcher is None or patcher.load_device != device:
        patcher = ModelPatcher(network, load_device=device, offload_device=unet_offload_device())
        # ComfyUI itself keeps only a weak reference: the patcher lives as long as its network.
        network.__dict__[_PATCHER] = patcher
    # In parts only ComfyUI's own layers can run.
    load_models_gpu([patcher], force_full_load=True)
