"""The `given` provider: depth and normal maps from elsewhere, brought to the scale of the fitted head."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError
from ..head.camera import Camera
from .mesh_provider import Estimate
from .normals import normals_of_depth, unit

ROUNDS = 20
"""Rounds of reweighting in the robust fit; it settles within ten."""
MIN_PIXELS = 500
"""Face pixels that a scale and a shift can be trusted to."""
MIN_EXPLAINED = 0.2
"""Share of the face's relief that the depth must explain to be taken for this face."""


def given_estimate(
    mesh: Estimate,
    camera: Camera,
    depth: Float[Tensor, "height width"] | None,
    normals: Float[Tensor, "3 height width"] | None,
) -> Estimate:
    """Put a given depth, normals or both in the place of the mesh's.

    Args:
        mesh: the fitted head's estimate; it gives the scale, and fills in where the maps are not finite.
        camera: camera of the crop.
        depth: any affine function of camera depth (also "white is near"), NaN where unknown.
        normals: camera axes (x right, y down, z forward, nz < 0 faces the viewer), NaN where unknown.

    Raises:
        InputError: a map of another size than the crop, or a depth that does not resemble the face.

    """
    shape = mesh.mask.shape
    for name, map_ in (("depth", depth), ("normal", normals)):
        if map_ is not None and map_.shape[-2:] != shape:
            raise InputError(f"The {name} map is {tuple(map_.shape[-2:])}; make it of the crop, {tuple(shape)} pixels.")
    surface = mesh.depth
    if depth is not None:
        aligned = align_depth(depth.to(surface), surface, mesh.sure)
        surface = torch.where(torch.isfinite(aligned), aligned, surface)
        mesh = replace(mesh, normals=normals_of_depth(surface, camera))
    if normals is not None:
        known = torch.isfinite(normals).all(0)
        mesh = replace(mesh, normals=torch.where(known, unit(normals.to(surface)), mesh.normals))
    return replace(mesh, depth=surface, sure=torch.zeros_like(mesh.sure))


def align_depth(
    depth: Float[Tensor, "height width"], target: Float[Tensor, "height width"], face: Bool[Tensor, "height width"]
) -> Float[Tensor, "height width"]:
    """Return the affine function of ``depth`` that lies nearest to ``target`` on the face.

    The given depth is regressed on the target by least absolute deviations (IRLS), and the line turned round: what is
    wrong in a map is then an outlier of the regression, however far off, and has no leverage.

    Raises:
        InputError: too few pixels, or no affine function of ``depth`` resembles the face.

    """
    used = face & torch.isfinite(depth)
    x, y = target[used].double(), depth[used].double()
    spread = (y - y.median()).abs().median() if len(y) >= MIN_PIXELS else y.new_zeros(())
    if not spread > 0:
        raise InputError("The depth map has no relief on the face: give one of this crop, or use provider 'mesh'.")
    middle = x.median()
    columns = torch.stack((x - middle, torch.ones_like(x)), dim=1)
    weights = torch.ones_like(y)
    for _ in range(ROUNDS):
        weighted = columns * weights[:, None]
        slope, offset = torch.linalg.solve(weighted.T @ columns, weighted.T @ y)
        residual = (y - columns @ torch.stack((slope, offset))).abs()
        weights = 1.0 / residual.clamp(min=1e-3 * float(spread))
    if residual.median() > (1 - MIN_EXPLAINED) * spread:
        raise InputError("The depth map does not resemble the face: give one of this crop, or use provider 'mesh'.")
    return ((depth.double() - offset) / slope + middle).to(target)
