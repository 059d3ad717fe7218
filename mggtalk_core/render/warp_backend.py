"""A rasteriser for GPUs on machines without a compiler: projection and binning in torch, blending in NVIDIA Warp.

On a machine without CUDA it runs on Warp's CPU device, on one core: slowly, but with the same mathematics.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import InputError
from ..gaussians.gaussians import Gaussians
from ..head.camera import Camera
from . import splatting as rule
from .reference import drawable, finite_rows, project_splats
from .rendering import Rendering
from .trial import renders_on_gpu

_MAX_ENTRIES = 200_000_000
_TILE = 16


@functools.cache
def warp_available() -> bool:
    """Tell whether Warp can render here: the package ``warp-lang`` and, where there is CUDA, a trial render."""
    if importlib.util.find_spec("warp") is None:
        return False
    return not torch.cuda.is_available() or renders_on_gpu(render_warp, "Warp")


def render_warp(gaussians: Gaussians, camera: Camera, *, antialiased: bool = False) -> Rendering:
    """Render on the device of the Gaussians in float32, differentiably; colour is premultiplied, over nothing.

    On a GPU the gradients of one Gaussian are added in no fixed order: their last digits may change from run to run.
    """
    finite = finite_rows(gaussians)
    with torch.no_grad():
        ahead = camera.to_camera(gaussians.means)[:, 2] >= rule.NEAR_PLANE
    kept = drawable(gaussians, finite & ahead, torch.float32)
    means, covariances, features, opacities = project_splats(kept, camera, antialiased)
    determinant = covariances[:, 0, 0] * covariances[:, 1, 1] - covariances[:, 0, 1] ** 2
    conics = torch.stack((covariances[:, 1, 1], -covariances[:, 0, 1], covariances[:, 0, 0]), dim=1)
    with torch.no_grad():
        members, offsets = _bin(means, covariances, features[:, 3], opacities, camera)
    image = _Blend.apply(camera, members, offsets, means, conics / determinant[:, None], features, opacities)
    alpha = image[4:]
    return Rendering(image[:3], alpha, image[3:4] / alpha.clamp(min=rule.MIN_WEIGHT), int((~finite).sum()))


def _bin(
    means: Float[Tensor, "n 2"],
    covariances: Float[Tensor, "n 2 2"],
    depths: Float[Tensor, "n"],
    opacities: Float[Tensor, "n"],
    camera: Camera,
) -> tuple[Int[Tensor, "m"], Int[Tensor, "t"]]:
    """List the splats that touch each tile, near ones first: rows, and where the list of each tile starts."""
    columns, rows = -(-camera.width // _TILE), -(-camera.height // _TILE)
    extent = torch.log(opacities / rule.MIN_ALPHA).clamp(min=0).mul(2).sqrt().clamp(max=rule.MAX_EXTENT)
    reach = extent[:, None] * torch.diagonal(covariances, dim1=1, dim2=2).sqrt()
    limit = torch.tensor([columns, rows], device=means.device)
    first = ((means - reach) / _TILE).floor().nan_to_num(0).clamp(min=0).minimum(limit).long()
    last = ((means + reach) / _TILE).floor().add(1).nan_to_num(0).clamp(min=0).minimum(limit).long()
    wide, high = (last - first).clamp(min=0).unbind(1)
    count = torch.where(opacities >= rule.MIN_ALPHA, wide * high, 0)
    total = int(count.sum())
    if total > _MAX_ENTRIES:
        raise InputError("The Gaussians are too large for this view: use smaller scales or a smaller picture.")
    row = torch.repeat_interleave(count, output_size=total)
    place = torch.arange(total, device=row.device) - (count.cumsum(0) - count)[row]
    tile = (first[row, 1] + place // wide[row]) * columns + first[row, 0] + place % wide[row]
    # Positive floats sort like their bits; equal depths keep the order of the rows.
    key, order = torch.sort((tile << 32) | depths.contiguous().view(torch.int32).long()[row], stable=True)
    starts = torch.searchsorted(key >> 32, torch.arange(columns * rows + 1, device=key.device))
    return row[order].int(), starts.int()


class _Blend(torch.autograd.Function):
    """Means, conics, features (colour, depth) and opacities of splats to [5,H,W]: colour, depth sum, alpha."""

    @staticmethod
    def forward(ctx: Any, camera: Camera, members: Tensor, offsets: Tensor, *splats: Tensor) -> Tensor:
        from .warp_kernels import blend

        splats = tuple(splat.contiguous() for splat in splats)
        columns = -(-camera.width // _TILE)
        image = splats[0].new_empty((5, camera.height, camera.width))
        _launch(blend, image.shape[1:], (*splats, members, offsets), columns, (image,))
        ctx.save_for_backward(*splats, members, offsets, image)
        ctx.columns = columns
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "5 h w"]) -> tuple[Tensor | None, ...]:
        from .warp_kernels import blend_backward

        *inputs, image = ctx.saved_tensors
        gradients = [torch.zeros_like(splat) for splat in inputs[:4]]
        rest = (image, gradient.contiguous(), *gradients)
        _launch(blend_backward, image.shape[1:], tuple(inputs), ctx.columns, rest)
        return None, None, None, *gradients


def _launch(
    kernel: Any, size: torch.Size, inputs: tuple[Tensor, ...], columns: int, outputs: tuple[Tensor, ...]
) -> None:
    """Launch on torch's device and in torch's stream, on torch's memory."""
    wp = _warp()
    arrays = [_array(wp, tensor) for tensor in (*inputs, *outputs)]
    arrays.insert(len(inputs), columns)
    device = wp.device_from_torch(inputs[0].device)
    stream = wp.stream_from_torch(torch.cuda.current_stream(inputs[0].device)) if inputs[0].is_cuda else None
    wp.launch(kernel, dim=tuple(size), inputs=arrays, device=device, stream=stream)


def _array(wp: Any, tensor: Tensor) -> Any:
    vectors = {2: wp.vec2, 3: wp.vec3, 4: wp.vec4}
    dtype = vectors[tensor.shape[1]] if tensor.ndim == 2 else None
    return wp.from_torch(tensor.detach(), dtype=dtype)


@functools.cache
def _warp() -> Any:
    import warp

    warp.config.log_level = warp.LOG_ERROR  # it greets on standard output
    warp.init()
    return warp
