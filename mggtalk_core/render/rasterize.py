"""One `render` for every splat backend."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..gaussians.gaussians import Gaussians
from ..head.camera import Camera
from .reference import render_reference
from .rendering import Rendering
from .synthetic import head_scene

Draw = Callable[[Gaussians, Camera], Rendering]
"""Draws Gaussians over nothing; colour comes back premultiplied."""


@dataclass(frozen=True)
class Backend:
    """A rasteriser and when it can be used."""

    draw: Draw
    available: Callable[[], bool]
    differentiable: bool


def render(
    gaussians: Gaussians,
    camera: Camera,
    background: Float[Tensor, "3"] | Float[Tensor, "3 height width"] | None = None,
    *,
    backend: str = "auto",
) -> Rendering:
    """Render the Gaussians as ``camera`` sees them (3D Gaussian splatting, EWA projection, as in gsplat).

    ``background`` is one colour or a picture, sRGB in 0..1; without it the colour is premultiplied over black. The
    result lies on the device of the Gaussians. Raises InputError for a backend that is unknown or cannot run here.
    """
    chosen = _choose(backend, gaussians)
    drawn = chosen.draw(gaussians, camera)
    if background is None:
        return drawn
    behind = background.to(drawn.rgb)
    behind = behind[:, None, None] if behind.ndim == 1 else behind
    return replace(drawn, rgb=torch.addcmul(drawn.rgb + behind, drawn.alpha, behind, value=-1))


def available_backends() -> list[str]:
    """Return the names of the backends that can run here, the preferred one first."""
    return [name for name, backend in _backends().items() if backend.available()]


def warm_up(backend: str = "auto") -> None:
    """Compile or load the kernels of a backend, so that the first picture takes no longer than the next."""
    with torch.no_grad():
        render(head_scene(200), Camera.for_crop(64), backend=backend)


def check_backend(name: str) -> None:
    """Raise InputError for a backend that is unknown or cannot run here, before the work that leads up to it."""
    backends = _backends()
    if name != "auto" and name not in backends:
        raise InputError(f'Unknown splat backend "{name}": choose one of {", ".join(["auto", *backends])}.')
    if name != "auto" and not backends[name].available():
        raise InputError(f'The splat backend "{name}" cannot run on this machine: choose "auto".')


def _choose(name: str, gaussians: Gaussians) -> Backend:
    backends = _backends()
    if name == "auto":
        on_gpu = gaussians.means.device.type == "cuda"
        name = "gsplat" if on_gpu and backends["gsplat"].available() else "numba"
    check_backend(name)
    if not backends[name].differentiable and _wants_gradients(gaussians):
        raise InputError(f'The splat backend "{name}" gives no gradients: use "reference", or torch.no_grad().')
    return backends[name]


def _wants_gradients(g: Gaussians) -> bool:
    tensors = (g.means, g.quats, g.scales, g.opacities, g.sh)
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


@functools.cache
def _backends() -> dict[str, Backend]:
    from .gsplat_backend import gsplat_available, render_gsplat

    return {
        "gsplat": Backend(render_gsplat, gsplat_available, differentiable=True),
        "numba": Backend(_draw_numba, _numba_available, differentiable=False),
        "reference": Backend(render_reference, lambda: True, differentiable=True),
    }


@functools.cache
def _rasterizer() -> Draw:
    from .cpu.rasterizer import Rasterizer

    return Rasterizer()


def _draw_numba(gaussians: Gaussians, camera: Camera) -> Rendering:
    return _rasterizer()(gaussians, camera).to(gaussians.means.device)


@functools.cache
def _numba_available() -> bool:
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True
