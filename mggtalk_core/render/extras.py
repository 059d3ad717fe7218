"""More than colour on request: normals, where things come from, and how far they can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians.gaussians import SH_C0, Gaussians
from ..geometry.points import Label
from ..head.camera import Camera
from ..record import Record
from .rasterize import render
from .reference import rotations

LABEL_COLORS = {
    Label.VISIBLE: (0.25, 0.65, 0.35),
    Label.MIRRORED: (0.95, 0.60, 0.15),
    Label.INTERIOR: (0.80, 0.25, 0.35),
    Label.BACKING: (0.35, 0.45, 0.80),
    Label.CHILD: (0.85, 0.85, 0.40),
}
"""Colours of the label view, sRGB in 0..1."""
CONFIDENCE = {
    Label.VISIBLE: 1.0,
    Label.MIRRORED: 0.6,
    Label.INTERIOR: 0.4,
    Label.BACKING: 0.3,
    Label.CHILD: 0.8,
}
"""How far each label can be trusted: what the picture shows entirely, what is guessed from it less."""


@dataclass(frozen=True)
class Extras(Record):
    """What can be drawn beside colour; None where it was not asked for."""

    normals: Float[Tensor, "3 height width"] | None = None
    """Unit normals in the axes of the camera, towards it; 0 where nothing is seen."""
    labels: Float[Tensor, "3 height width"] | None = None
    """Where each Gaussian comes from, in `LABEL_COLORS`, premultiplied over black."""
    confidence: Float[Tensor, "1 height width"] | None = None
    """0..1: the trust in what is seen times its alpha; 0 where nothing is seen."""


def render_extras(
    gaussians: Gaussians,
    camera: Camera,
    *,
    normals: bool = False,
    labels: bool = False,
    confidence: bool = False,
    backend: str = "auto",
) -> Extras:
    """Draw what is asked for, each as a picture of its own with the colour replaced: every backend can do it."""

    def drawn(values: Float[Tensor, "n 3"]) -> Float[Tensor, "3 height width"]:
        return render(_painted(gaussians, values), camera, backend=backend).rgb

    found: dict[str, Tensor] = {}
    if normals:
        # Colours are clamped at 0, so directions travel as 0..1.
        values = 0.5 + 0.5 * view_normals(gaussians, camera)
        seen = render(_painted(gaussians, values), camera, backend=backend)
        found["normals"] = torch.nn.functional.normalize(2.0 * seen.rgb - seen.alpha, dim=0) * (seen.alpha > 0)
    if labels:
        found["labels"] = drawn(_looked_up(gaussians, [LABEL_COLORS[label] for label in Label]))
    if confidence:
        found["confidence"] = drawn(_looked_up(gaussians, [(CONFIDENCE[label],) * 3 for label in Label]))[:1]
    return Extras(**found)


def view_normals(gaussians: Gaussians, camera: Camera) -> Float[Tensor, "n 3"]:
    """Return the shortest axis of each Gaussian in the axes of the camera, turned towards it."""
    axes = camera.rotation.to(gaussians.means) @ rotations(gaussians.quats)
    shortest = gaussians.scales.argmin(dim=1)
    normals = axes[torch.arange(len(gaussians), device=axes.device), :, shortest]
    away = (normals * camera.to_camera(gaussians.means)).sum(dim=1, keepdim=True) > 0
    return torch.where(away, -normals, normals)


def _looked_up(gaussians: Gaussians, rows: list[tuple[float, ...]]) -> Float[Tensor, "n 3"]:
    return torch.tensor(rows).to(gaussians.means)[gaussians.labels.long()]


def _painted(gaussians: Gaussians, values: Float[Tensor, "n 3"]) -> Gaussians:
    """Return the Gaussians with ``values`` for colours, the same from every side."""
    sh = torch.zeros_like(gaussians.sh)
    sh[:, 0] = (values - 0.5) / SH_C0
    return replace(gaussians, sh=sh)
