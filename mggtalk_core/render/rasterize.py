"""One `render` for every splat backend."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..gaussians.gaussians import Gaussians
from ..head.camera import Camera
from .reference import render_reference
from .rendering import Rendering

_log = logging.getLogger(__name__)


_HINTS = {
    "gsplat": "it needs CUDA, nvcc and a host compiler; ",
    "warp": 'try "pip install warp-lang", or ',
    "numba": 'try "pip install numba", or ',
}


class Draw(Protocol):
    """Draws Gaussians over nothing, differentiably; colour comes back premultiplied."""

    def __call__(self, gaussians: Gaussians, camera: Camera, *, antialiased: bool = False) -> Rendering:
        """Return the picture, on the device of the Gaussians."""
        ...


@dataclass(frozen=True)
class Backend:
    """A rasteriser and when it can be used."""

    draw: Draw
    available: Callable[[], bool]


def render(
    gaussians: Gaussians,
    camera: Camera,
    background: Float[Tensor, "3"] | Float[Tensor, "3 height width"] | None = None,
    *,
    backend: str = "auto",
    antialiased: bool = False,
) -> Rendering:
    """Render the Gaussians as ``camera`` sees them (3D Gaussian splatting, EWA projection, as in gsplat).

    Every backend is differentiable in means, quats, scales, opacities and sh. ``background`` is one colour or a
    picture, sRGB in 0..1; without it the colour is premultiplied over black. ``antialiased`` takes from the opacity
    what the low-pass filter adds in area (mip-splatting): for views from farther away than the Gaussians were made for.
    The result lies on the device of the Gaussians. Raises InputError for a backend that is unknown or cannot run here.
    """
    drawn = _choose(backend, gaussians.means.device).draw(gaussians, camera, antialiased=antialiased)
    if background is None:
        return drawn
    behind = background.to(drawn.rgb)
    behind = behind[:, None, None] if behind.ndim == 1 else behind
    return replace(drawn, rgb=torch.addcmul(drawn.rgb + behind, drawn.alpha, behind, value=-1))


def available_backends(device: torch.device | str = "cpu") -> list[str]:
    """Return the backends that can run here, in the order ``"auto"`` takes them for Gaussians on ``device``."""
    return [name for name in _preference(torch.device(device)) if _backends()[name].available()]


def check_backend(name: str) -> None:
    """Raise InputError for a backend that is unknown or cannot run here, before the work that leads up to it."""
    _choose(name, torch.device("cpu"))


def _choose(name: str, device: torch.device) -> Backend:
    backends = _backends()
    if name == "auto":
        name = _automatic(device.type)
    if name not in backends:
        raise InputError(f'Unknown splat backend "{name}": choose one of {", ".join(["auto", *backends])}.')
    if not backends[name].available():
        raise InputError(f'The splat backend "{name}" cannot run on this machine: {_HINTS.get(name, "")}choose "auto".')
    return backends[name]


def _preference(device: torch.device) -> tuple[str, ...]:
    """On a GPU the fastest first, then what needs no compiler; on the CPU only numba is fast."""
    return (
        ("gsplat", "warp", "numba", "reference") if device.type == "cuda" else ("numba", "warp", "gsplat", "reference")
    )


@functools.cache
def _automatic(device: str) -> str:
    name = available_backends(device)[0]
    _log.info("Gaussians on %s are rendered by %s", device, name)
    return name


@functools.cache
def _backends() -> dict[str, Backend]:
    from .gsplat_backend import gsplat_available, render_gsplat
    from .warp_backend import render_warp, warp_available

    return {
        "gsplat": Backend(render_gsplat, gsplat_available),
        "warp": Backend(render_warp, warp_available),
        "numba": Backend(_draw_numba, _numba_available),
        "reference": Backend(render_reference, lambda: True),
    }


@functools.cache
def _rasterizer() -> Draw:
    from .cpu.rasterizer import Rasterizer

    return Rasterizer()


def _draw_numba(gaussians: Gaussians, camera: Camera, *, antialiased: bool = False) -> Rendering:
    return _rasterizer()(gaussians, camera, antialiased=antialiased).to(gaussians.means.device)


@functools.cache
def _numba_available() -> bool:
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True
