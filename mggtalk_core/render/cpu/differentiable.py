"""The CPU rasteriser as a step that autograd knows."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...head.camera import Camera


class Passes(Protocol):
    """What draws a frame and sends gradients back through it."""

    def forward(self, tensors: tuple[Tensor, ...], camera: Camera, antialiased: bool) -> Any:
        """Draw; the frame has an ``image`` [5,H,W] and a number ``dropped``."""
        ...

    def backward(self, frame: Any, gradient: Float[Tensor, "5 height width"]) -> tuple[Tensor, ...]:
        """Return the gradient of every tensor."""
        ...


class Splatting(torch.autograd.Function):
    """Means, quats, scales, opacities and sh to the image [5,H,W] of colour, alpha and expected depth.

    Gradients stop where the forward pass does: none through the order of depths, the clamp at 0.999, or splats that
    are skipped, culled or dropped.
    """

    @staticmethod
    def forward(
        ctx: Any, rasterizer: Passes, camera: Camera, antialiased: bool, *tensors: Tensor
    ) -> tuple[Float[Tensor, "5 height width"], int]:
        """Draw, and keep the frame."""
        ctx.rasterizer, ctx.like = rasterizer, [(t.shape, t.dtype, t.device) for t in tensors]
        ctx.frame = rasterizer.forward(tensors, camera, antialiased)
        return torch.from_numpy(ctx.frame.image), ctx.frame.dropped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "5 height width"], _: None) -> tuple[Tensor | None, ...]:
        """Return a gradient for each tensor."""
        gradients = ctx.rasterizer.backward(ctx.frame, gradient)
        shaped = (g.reshape(s).to(device, dtype) for g, (s, dtype, device) in zip(gradients, ctx.like, strict=True))
        return None, None, None, *shaped
