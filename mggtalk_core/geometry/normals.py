"""Normals in camera axes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..head.camera import Camera


def rays(camera: Camera) -> Float[Tensor, "3 height width"]:
    """Return the direction of every pixel's line of sight in camera axes, at depth 1."""
    cx, cy = camera.center
    y, x = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    return torch.stack(((x - cx) / camera.focal, (y - cy) / camera.focal, torch.ones_like(x)))


def unit(vectors: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Return a field of vectors at length 1, zero where they are; several times faster than a norm over planes."""
    return vectors * torch.rsqrt((vectors * vectors).sum(0).clamp(min=1e-24))


def facing_viewer(normals: Float[Tensor, "3 height width"], camera: Camera) -> Float[Tensor, "3 height width"]:
    """Turn round the normals that point away from the camera."""
    away = (normals * rays(camera).to(normals)).sum(0) > 0
    return torch.where(away, -normals, normals)


def normals_of_depth(depth: Float[Tensor, "height width"], camera: Camera) -> Float[Tensor, "3 height width"]:
    """Return unit normals of a smooth depth map by central differences (one-sided at the border)."""
    points = rays(camera).to(depth) * depth
    (along_y, along_x) = torch.gradient(points, dim=(1, 2))
    return unit(torch.linalg.cross(along_y, along_x, dim=0))
