"""How the networks that estimate depth and normals are run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .geowizard.switcher import SCENES, Scene

Precision = Literal["auto", "fp32", "fp16", "bf16"]
Offload = Literal["none", "model", "sequential"]
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
OFFLOADS = ("none", "model", "sequential")
GRID = 64
"""Pictures are processed at a multiple of this many pixels: 8 of the autoencoder times 8 of the UNet."""


@dataclass(frozen=True)
class NetworkOptions:
    """Settings of GeoWizard and Marigold."""

    steps: int = 10
    """Denoising steps (DDIM)."""
    seed: int = 0
    """Of the noise that is denoised."""
    resolution: int = 768
    """Edge of the square that the networks see, pixels; they were trained at 768."""
    scene: Scene = "object"
    """What GeoWizard's switcher is told; ``object`` also cuts the head out, as the paper's ``I_s^h``."""
    precision: Precision = "auto"
    """``auto``: fp16 on CUDA. On the CPU it is always fp32."""
    offload: Offload = "none"
    """``model`` keeps one network at a time on the GPU, ``sequential`` one layer (with the package accelerate)."""
    weights: str = ""
    """Folder of the weights, or id of a hub repository; empty looks in the usual places."""
    device: str | None = None
    """Device to compute on; None takes CUDA where there is one."""

    def __post_init__(self) -> None:
        """Refuse settings that no network can run with."""
        if not 1 <= self.steps <= 1000:
            raise InputError(f"Denoising takes 1 to 1000 steps, not {self.steps}.")
        if self.resolution < GRID:
            raise InputError(f"The networks need at least {GRID} pixels, not {self.resolution}.")
        known = {"scene": SCENES, "precision": ("auto", *PRECISIONS), "offload": OFFLOADS}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise InputError(f"There is no {name} {getattr(self, name)!r}: choose one of {', '.join(values)}.")

    def torch_device(self) -> torch.device:
        """Return the device to compute on."""
        if self.device is not None:
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def dtype(self) -> torch.dtype:
        """Return the number format to compute in."""
        if self.torch_device().type == "cpu":
            return torch.float32
        return PRECISIONS["fp16" if self.precision == "auto" else self.precision]

    def pixels(self) -> int:
        """Return the edge of the square to process, a multiple of `GRID`."""
        return self.resolution // GRID * GRID


@dataclass(frozen=True)
class Prediction:
    """What a network says of a picture, on its pixels."""

    depth: Float[Tensor, "height width"]
    """Affine-invariant: 0 near, 1 far."""
    normals: Float[Tensor, "3 height width"]
    """Unit normals in the signs that the network uses."""
