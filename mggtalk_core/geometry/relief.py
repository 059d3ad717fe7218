"""How deep a depth map of unknown scale is, told by the normals that came with it.

A fitted head gives such a map its place, but its own relief is only as good as the fit. Normals know the slopes: in a
perspective picture they tell the relief of a surface but for the size of the whole.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..head.camera import Camera
from .normals import rays

CELL = 8
"""Edge in pixels of the cells whose means are compared: the grain of a map is too steep to tell slopes from pixels."""
FEWEST = 100
"""Pairs of cells that a relief can be trusted to."""
ROUNDS = 20
"""Rounds of reweighting of either kind; they settle within ten."""
REACH = 2.0
"""Deviation, in medians, from which on a pair of cells does not count."""


def relief_by_normals(
    depth: Float[Tensor, "height width"],
    normals: Float[Tensor, "3 height width"],
    camera: Camera,
    face: Bool[Tensor, "height width"],
    distance: float,
) -> float | None:
    """Return the factor that makes a depth map as deep as the normals say, or None where they say too little.

    A surface ``z = distance + factor (depth - median)`` seen along the rays ``r`` has ``n . r dz/du + z n_x / f = 0``,
    which is linear in the factor. It is found by robust regression over means of cells.

    Args:
        depth: any affine function of camera depth; NaN where unknown.
        normals: camera axes, towards the viewer; NaN where unknown.
        camera: of the picture.
        face: pixels to compare.
        distance: camera depth of the middle of the face, units of 10 cm.
    """
    used = face & torch.isfinite(depth) & torch.isfinite(normals).all(0)
    if not used.any():
        return None
    whole = _means(used.double()) > 1.0 - 1e-6
    height = _means(torch.where(used, (depth - depth[used].median()).double(), 0.0))
    slope = torch.stack([_means(torch.where(used, axis.double(), 0.0)) for axis in normals])
    ray = torch.stack([_means(axis.double()) for axis in rays(camera).to(depth)])
    said, seen = [], []
    for axis, dim in ((0, 1), (1, 0)):
        both = _first(whole, dim) & _second(whole, dim)
        normal, sight, middle = (0.5 * (_first(each, dim) + _second(each, dim)) for each in (slope, ray, height))
        step = normal[axis] * (CELL / camera.focal)
        rise = (_second(height, dim) - _first(height, dim)) * (normal * sight).sum(0)
        said.append((-distance * step)[both])
        seen.append((rise + middle * step)[both])
    share = _proportion(torch.cat(said), torch.cat(seen))
    return 1.0 / share if share else None


def _means(values: Float[Tensor, "height width"]) -> Float[Tensor, "rows columns"]:
    return avg_pool2d(values[None], CELL)[0]


def _first(values: Tensor, dim: int) -> Tensor:
    dim -= 2
    return values.narrow(dim, 0, values.shape[dim] - 1)


def _second(values: Tensor, dim: int) -> Tensor:
    dim -= 2
    return values.narrow(dim, 1, values.shape[dim] - 1)


def _proportion(x: Float[Tensor, "k"], y: Float[Tensor, "k"]) -> float | None:
    """Return the factor of ``x`` that lies nearest to ``y``: least absolute deviations, then Tukey's weights.

    A depth jumps where normals see nothing of it, always by more than they say: such places must not count at all.
    """
    if len(x) < FEWEST or not y.abs().median() > 0:
        return None
    least = 1e-3 * float(y.abs().median())
    factor = (x * y).sum() / (x * x).sum()
    for number in range(2 * ROUNDS):
        off = (y - factor * x).abs()
        reach = (REACH * off.median()).clamp(min=least)
        weight = 1.0 / off.clamp(min=least) if number < ROUNDS else (1.0 - (off / reach) ** 2).clamp(min=0.0) ** 2
        factor = (weight * x * y).sum() / (weight * x * x).sum()
    return float(factor)
