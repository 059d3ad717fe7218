"""Where the compiled loops of a frame's Gaussians may stand in for torch's operations."""

from __future__ import annotations

import torch
from torch import Tensor


def loops_may(*tensors: Tensor) -> bool:
    """Tell whether compiled loops can compute with these tensors: float32 on the CPU, and nothing to differentiate."""
    return all(
        tensor.device.type == "cpu" and tensor.dtype == torch.float32 and not tensor.requires_grad for tensor in tensors
    )
