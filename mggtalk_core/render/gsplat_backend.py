"""The gsplat rasteriser, on CUDA."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians.gaussians import Gaussians
from ..head.camera import Camera
from .reference import finite_rows
from .rendering import Rendering
from .trial import renders_on_gpu


@functools.cache
def gsplat_available() -> bool:
    """Tell whether gsplat can render here: needs CUDA, the package, and kernels that really build.

    gsplat compiles its kernels at first use, so only a trial render shows it; without CUDA nothing is tried.
    """
    return torch.cuda.is_available() and renders_on_gpu(render_gsplat, "gsplat")


def render_gsplat(gaussians: Gaussians, camera: Camera, *, antialiased: bool = False) -> Rendering:
    """Render with ``gsplat.rasterization`` on the GPU, differentiably; colour is premultiplied, over nothing."""
    import gsplat

    device = gaussians.means.device if gaussians.means.is_cuda else torch.device("cuda")
    g = gaussians.to(device)
    finite = finite_rows(g)
    image, alpha, _ = gsplat.rasterization(
        *(tensor[finite].float() for tensor in (g.means, g.quats, g.scales, g.opacities, g.sh)),
        camera.world_to_camera.to(device, torch.float32)[None],
        _intrinsics(camera).to(device)[None],
        camera.width,
        camera.height,
        sh_degree=1,
        packed=False,
        render_mode="RGB+ED",
        rasterize_mode="antialiased" if antialiased else "classic",
    )
    image, alpha = image[0].permute(2, 0, 1), alpha[0].permute(2, 0, 1)
    drawn = Rendering(image[:3].contiguous(), alpha.contiguous(), image[3:].contiguous(), int((~finite).sum()))
    return drawn.to(gaussians.means.device)


def _intrinsics(camera: Camera) -> Float[Tensor, "3 3"]:
    x, y = camera.center
    return torch.tensor([[camera.focal, 0.0, x], [0.0, camera.focal, y], [0.0, 0.0, 1.0]])
