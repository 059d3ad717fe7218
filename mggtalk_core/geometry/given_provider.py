"""The `given` provider: depth and normal maps from elsewhere, brought to the scale of the fitted head."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..errors import InputError
from ..head.camera import Camera
from .mesh_provider import Estimate
from .normals import normals_of_depth, unit
from .orientation import Orientation, orientation_of, oriented

_log = logging.getLogger(__name__)

ROUNDS = 20
"""Rounds of reweighting in the robust fit; it settles within ten."""
LINES, JUDGES = 300, 1000
"""Lines that are tried before that fit, and points that each is tried on."""
MIN_PIXELS = 500
"""Face pixels that a scale and a shift can be trusted to."""
MIN_EXPLAINED = 0.2
"""Share of the face's relief that the depth must explain to be taken for this face."""
WELL_EXPLAINED = 0.6
"""Share below which the depth is used, and said to be poor."""
LEVELS = 256
"""Distinct values up to which a depth map is taken to come from 8 bits."""
BLUR = 5
"""Edge of the box, applied twice, that melts the terraces of 8 bits, pixels."""


@dataclass(frozen=True)
class Alignment:
    """The affine function that turns a depth map into camera depth, and how well it does."""

    slope: float
    """Change of the map's value per unit of camera depth; negative where near is bright."""
    offset: float
    middle: float
    explained: float
    """Share of the face's relief that the map explains: 1 - median residual / median deviation."""

    def apply(self, depth: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
        """Return camera depth."""
        return (depth.double() - self.offset) / self.slope + self.middle

    def __str__(self) -> str:
        """Return what was found out, for the user."""
        near = "dark" if self.slope > 0 else "bright"
        text = f"near is {near}, and it explains {100 * self.explained:.0f} % of the face's relief"
        return text if self.explained >= WELL_EXPLAINED else f"{text}, which is poor"


def given_estimate(
    mesh: Estimate,
    camera: Camera,
    depth: Float[Tensor, "height width"] | None,
    normals: Float[Tensor, "3 height width"] | None,
    *,
    detect_signs: bool = False,
    whose: str = "map",
) -> Estimate:
    """Put a given depth, normals or both in the place of the mesh's.

    Args:
        mesh: the fitted head's estimate; it gives the scale, and fills in where the maps are not finite.
        camera: camera of the crop.
        depth: any affine function of camera depth (also "white is near"), NaN where unknown.
        normals: camera axes (x right, y down, z forward, nz < 0 faces the viewer), NaN where unknown.
        detect_signs: the axes of the normals may point either way: take the signs from the fitted head.
        whose: what the maps are called in remarks and errors.

    Raises:
        InputError: a map of another size than the crop, or one that does not resemble the face.

    """
    shape = mesh.mask.shape
    for name, map_ in (("depth", depth), ("normal", normals)):
        if map_ is not None and map_.shape[-2:] != shape:
            raise InputError(f"The {name} map is {tuple(map_.shape[-2:])}; make it of the crop, {tuple(shape)} pixels.")
    surface, head, remarks = mesh.depth, mesh.normals, mesh.remarks
    if depth is not None:
        depth, melted = without_terraces(depth.to(surface))
        alignment = fit_alignment(depth, surface, mesh.sure, whose)
        remarks += (f"Depth {whose}: {alignment}{'; its 8-bit steps were smoothed' if melted else ''}.",)
        aligned = alignment.apply(depth).to(surface)
        surface = torch.where(torch.isfinite(aligned), aligned, surface)
        mesh = replace(mesh, normals=normals_of_depth(surface, camera))
    if normals is not None:
        normals, remark = _signed(normals.to(surface), head, mesh.sure, detect_signs, whose)
        remarks += remark
        known = torch.isfinite(normals).all(0)
        mesh = replace(mesh, normals=torch.where(known, unit(normals), mesh.normals))
    for remark in remarks:
        _log.info("%s", remark)
    return replace(mesh, depth=surface, sure=torch.zeros_like(mesh.sure), remarks=remarks)


def _signed(
    normals: Float[Tensor, "3 height width"],
    head: Float[Tensor, "3 height width"],
    face: Bool[Tensor, "height width"],
    detect: bool,
    whose: str,
) -> tuple[Float[Tensor, "3 height width"], tuple[str, ...]]:
    """Return normals in camera axes with what is to be said of them."""
    found: Orientation = orientation_of(normals, head, face)
    if not detect:
        return normals, _doubts(found, whose)
    if not found.is_sure:
        raise InputError(
            f"The normal {whose} does not resemble the face, so its axes cannot be told: say its style, or use 'mesh'."
        )
    return oriented(normals, found), (f"Normal {whose}: {found}.",)


def _doubts(found: Orientation, whose: str) -> tuple[str, ...]:
    """Return what speaks against normals whose signs were said by the user."""
    if not found.is_sure:
        return (f"Normal {whose}: it hardly follows the fitted head; is it of this picture?",)
    wrong = " and ".join(axis for axis, sign in zip("xyz", found.signs, strict=True) if sign < 0)
    return (f"Normal {whose}: its {wrong} points against the fitted head's; is the style right?",) if wrong else ()


def align_depth(
    depth: Float[Tensor, "height width"], target: Float[Tensor, "height width"], face: Bool[Tensor, "height width"]
) -> Float[Tensor, "height width"]:
    """Return the affine function of ``depth`` that lies nearest to ``target`` on the face; see `fit_alignment`."""
    return fit_alignment(depth, target, face).apply(depth).to(target)


def fit_alignment(
    depth: Float[Tensor, "height width"],
    target: Float[Tensor, "height width"],
    face: Bool[Tensor, "height width"],
    whose: str = "map",
) -> Alignment:
    """Fit the affine function of ``depth`` that lies nearest to ``target`` on the face.

    The given depth is regressed on the target by least absolute deviations (IRLS, begun at the line with the least
    median residual of some hundreds), and the line turned round: what is wrong in a map is then an outlier of the
    regression, however far off, and has no leverage.

    Raises:
        InputError: too few pixels, or no affine function of ``depth`` resembles the face.

    """
    used = face & torch.isfinite(depth)
    x, y = target[used].double(), depth[used].double()
    spread = (y - y.median()).abs().median() if len(y) >= MIN_PIXELS else y.new_zeros(())
    if not spread > 0:
        raise InputError(f"The depth {whose} has no relief on the face: give one of this crop, or use provider 'mesh'.")
    middle = x.median()
    columns = torch.stack((x - middle, torch.ones_like(x)), dim=1)
    line = _line_of_least_median(columns, y)
    residual = (y - columns @ line).abs()
    for _ in range(ROUNDS):
        weighted = columns / residual.clamp(min=1e-3 * float(spread))[:, None]
        line = torch.linalg.solve(weighted.T @ columns, weighted.T @ y)
        residual = (y - columns @ line).abs()
    slope, offset = line
    explained = float(1.0 - residual.median() / spread)
    if explained < MIN_EXPLAINED:
        raise InputError(
            f"The depth {whose} does not resemble the face: give one of this crop, or use provider 'mesh'."
        )
    return Alignment(float(slope), float(offset), float(middle), explained)


def _line_of_least_median(columns: Float[Tensor, "n 2"], y: Float[Tensor, "n"]) -> Float[Tensor, "2"]:
    """Return the line through two of the points that leaves the least median residual: half of them may be wrong."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(len(y), (LINES, 2), generator=generator).to(y.device)
    judges = torch.randint(len(y), (JUDGES,), generator=generator).to(y.device)
    run = (columns[pairs[:, 1], 0] - columns[pairs[:, 0], 0]).to(y)
    slopes = (y[pairs[:, 1]] - y[pairs[:, 0]]) / torch.where(run.abs() > 0, run, torch.inf)
    offsets = y[pairs[:, 0]] - slopes * columns[pairs[:, 0], 0]
    off = (y[judges] - slopes[:, None] * columns[judges, 0] - offsets[:, None]).abs()
    best = off.median(dim=1).values.argmin()
    return torch.stack((slopes[best], offsets[best]))


def without_terraces(depth: Float[Tensor, "height width"]) -> tuple[Float[Tensor, "height width"], bool]:
    """Smooth a depth map that has the steps of 8 bits; return it, and whether it had.

    Between two steps such a map is flat, and its normals would say so.
    """
    known = torch.isfinite(depth)
    if len(torch.unique(depth[known])) > LEVELS:
        return depth, False
    planes = torch.stack((torch.where(known, depth, 0.0), known.to(depth)))[None]
    for _ in range(2):
        planes = avg_pool2d(planes, BLUR, stride=1, padding=BLUR // 2)
    total, weight = planes[0]
    return torch.where(known, total / weight.clamp(min=1e-6), depth), True
