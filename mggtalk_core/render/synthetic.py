"""Made-up scenes that load a rasteriser as a head does: for trial renders, tests and benchmarks."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians.gaussians import SH_C0, Gaussians
from ..head.camera import FOCAL_PER_PIXEL, Camera

DISTANCE = 8.0
"""Depth of the scene's origin before `head_camera`, in units of 10 cm: the head fills two thirds of the picture."""
_HALF_AXES = (0.75, 1.05, 0.9)
_LAYERS = (1.0, 0.94, 0.85)  # visible surface, backing, interior: each inside the one before
_SHARES = (0.75, 0.15, 0.10)


def head_camera(size: int = 512, yaw: float = 0.0) -> Camera:
    """Return a camera of ``size`` pixels in front of the scene, turned about it by ``yaw`` degrees."""
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    rotation = flip @ torch.tensor([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
    return Camera.for_crop(size).posed(rotation, torch.tensor([0.0, 0.0, DISTANCE]))


def head_scene(count: int = 150_000, seed: int = 0) -> Gaussians:
    """Make ``count`` Gaussians on the front of nested ellipsoids, flat on them and about as wide as their spacing.

    At 150,000 and 512 pixels their standard deviation is 0.5 to 1.5 pixels, as in a head lifted from a picture.
    """
    random = torch.Generator().manual_seed(seed)
    sizes = [round(count * share) for share in _SHARES[1:]]
    sizes = [count - sum(sizes), *sizes]
    directions = torch.cat([_in_rows(_front(size, random)) for size in sizes])
    layer = torch.repeat_interleave(torch.tensor(_LAYERS), torch.tensor(sizes))
    means = directions * torch.tensor(_HALF_AXES) * layer[:, None]
    normals = torch.nn.functional.normalize(directions / torch.tensor(_HALF_AXES), dim=1)
    scales, opacities = _sizes(count, random)
    labels = torch.repeat_interleave(torch.tensor([0, 3, 2], dtype=torch.uint8), torch.tensor(sizes))
    sh = torch.zeros(count, 4, 3)
    sh[:, 0] = (_pattern(means) - 0.5) / SH_C0
    sh[:, 1:] = 0.05 * torch.randn(count, 3, 3, generator=random)
    return Gaussians(means, _facing(normals), scales, opacities, sh, labels)


def _front(count: int, random: torch.Generator) -> Float[Tensor, "n 3"]:
    """Draw directions over the front of the unit sphere, evenly over its picture but kept off the very rim."""
    radius = 0.97 * torch.rand(count, generator=random).sqrt()
    angle = 2 * math.pi * torch.rand(count, generator=random)
    x, y = radius * angle.cos(), radius * angle.sin()
    return torch.stack((x, y, (1 - x * x - y * y).sqrt()), dim=1)


def _in_rows(directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Sort by picture row, then column: points lifted from a picture come in this order, which caches like."""
    row = torch.floor(directions[:, 1] * -200.0)
    return directions[torch.argsort(4.0 * row + directions[:, 0])]


def _sizes(count: int, random: torch.Generator) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    pixel = DISTANCE / (FOCAL_PER_PIXEL * 512)
    wide = pixel * (0.5 + torch.rand(count, 2, generator=random)) * math.sqrt(150_000 / max(count, 1))
    scales = torch.cat((wide, 0.3 * wide[:, :1]), dim=1)
    return scales, 0.3 + 0.69 * torch.rand(count, generator=random)


def _pattern(means: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Paint skin-like colours with soft stripes, so that errors of place show as errors of colour."""
    stripes = 0.5 + 0.5 * torch.sin(means @ torch.tensor([[9.0, 2.0, 4.0], [3.0, 11.0, 5.0], [1.0, 4.0, 7.0]]))
    return torch.tensor([0.75, 0.55, 0.45]) + 0.2 * (stripes - 0.5)


def _facing(normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 4"]:
    """Return the quaternions that turn +z to ``normals``, none of which points to -z."""
    x, y, z = normals.unbind(1)
    return torch.nn.functional.normalize(torch.stack((1 + z, -y, x, torch.zeros_like(x)), dim=1), dim=1)
