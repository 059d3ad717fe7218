"""Inputs of the networks that estimate depth and normals, and how they are run inside ComfyUI."""

from __future__ import annotations

from typing import Any

from comfy.model_management import get_torch_device
from comfy_api.latest import io

from ..mggtalk_core.geometry.network_options import GRID, OFFLOADS, PRECISIONS, NetworkOptions
from ..mggtalk_core.geometry.network_provider import NETWORKS, needed_bytes
from .sockets import advanced


def network_inputs() -> list[io.Input]:
    """Return the settings of GeoWizard and Marigold; other providers ignore them."""
    return [
        io.Int.Input(
            "steps",
            default=10,
            min=1,
            max=100,
            optional=True,
            tooltip="geowizard and marigold: denoising steps. More take longer and change little beyond 10.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFF,
            control_after_generate=False,
            optional=True,
            tooltip="geowizard and marigold: the noise they start from. Another seed gives a slightly other surface.",
        ),
        *(advanced(made) for made in _expert_inputs()),
    ]


def _expert_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "prior_weight",
            default=1.0,
            min=0.01,
            max=100.0,
            step=0.01,
            optional=True,
            tooltip="Factor on lambda, the weight of the depth in the integration. Larger keeps to the depth, smaller "
            "lets the normals decide.",
        ),
        io.Combo.Input(
            "scene",
            options=["object", "indoor", "outdoor"],
            default="object",
            optional=True,
            tooltip="geowizard: what it is told about the picture. object: the head is cut out first, as in the paper. "
            "indoor, outdoor: it sees the whole crop.",
        ),
        io.Int.Input(
            "resolution",
            default=768,
            min=GRID,
            max=1536,
            step=GRID,
            optional=True,
            tooltip="geowizard and marigold: pixels that the networks see. They were trained at 768; less is quicker "
            "and coarser, and takes less memory.",
        ),
        io.Combo.Input(
            "precision",
            options=["auto", *PRECISIONS],
            default="auto",
            optional=True,
            tooltip="geowizard and marigold on a GPU. auto: fp16, half the memory of fp32. On the CPU it is fp32.",
        ),
        io.Combo.Input(
            "offload",
            options=list(OFFLOADS),
            default="none",
            optional=True,
            tooltip="geowizard and marigold on a GPU. model: one network at a time on it. sequential: one layer at a "
            "time, slow, for little memory; it needs the package accelerate.",
        ),
        *_weights_inputs(),
    ]


def _weights_inputs() -> list[io.Input]:
    return [
        io.String.Input(
            "weights",
            default="",
            optional=True,
            tooltip="geowizard and marigold: folder of the weights, or a hub id. Empty looks for models/mggtalk/"
            "geowizard, marigold-depth-v1-1 and marigold-normals-v1-1, then on the hub.",
        ),
        io.Boolean.Input(
            "download",
            default=True,
            label_on="when missing",
            label_off="never",
            optional=True,
            tooltip="Fetch the weights once if they are missing: 5.0 GB for geowizard, 5.2 GB for marigold. Never: the "
            "node stops and names them instead.",
        ),
    ]


def network_options(provider: str, **chosen: Any) -> NetworkOptions:
    """Return the settings with ComfyUI's device, on which room is made if a network will run."""
    device = get_torch_device()
    options = NetworkOptions(device=str(device), **chosen)
    if provider in NETWORKS and device.type != "cpu":
        from comfy.model_management import free_memory

        free_memory(needed_bytes(provider, options), device)
    return options
