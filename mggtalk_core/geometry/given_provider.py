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
from .relief import relief_by_normals

_log = logging.getLogger(__name__)

ROUNDS = 20
"""Rounds of reweighting in the robust fit; it settles within ten."""
NEAR = 3.0
"""Residual, in medians, up to which a pixel takes part in the second regression."""
LINES, JUDGES = 300, 1000
"""Lines that are tried before that fit, and points that each is tried on."""
MIN_PIXELS = 500
"""Face pixels that a scale and a shift can be trusted to."""
MIN_EXPLAINED = 0.2
"""Share of the face's relief that the depth must explain to be taken for this face."""
WELL_EXPLAINED = 0.6
"""Share below which the depth is used, and said to be poor."""
MOST_OFF = 2.5
"""Normals that tell a relief this many times the fitted head's, or this small a part of it, are not believed."""
LEVELS = 256
"""Distinct values up to which a depth map is taken to come from 8 bits."""
BLUR = 5
"""Edge of the box, applied twice, that melts grain and the terraces of 8 bits, pixels."""
JUMP = 0.02
"""A depth this far from its smoothed form lies at a jump, units of 10 cm."""


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

    def as_deep_as(
        self,
        depth: Float[Tensor, "height width"],
        normals: Float[Tensor, "3 height width"],
        camera: Camera,
        mesh: Estimate,
    ) -> Alignment:
        """Return the same place with the relief that the normals tell; this one where they contradict it."""
        used = mesh.sure & torch.isfinite(depth)
        distance = float(mesh.depth[used].median())
        factor = relief_by_normals(depth, normals, camera, mesh.sure, distance)
        if factor is None or not 1.0 / MOST_OFF < factor * self.slope < MOST_OFF:
            return self
        return Alignment(1.0 / factor, float(depth[used].median()), distance, self.explained)

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
    head, remarks, told = mesh, mesh.remarks, None
    if normals is not None:
        normals, remark = _signed(normals.to(mesh.normals), mesh.normals, mesh.sure, detect_signs, whose)
        remarks += remark
        told = torch.isfinite(normals).all(0)
    if depth is not None:
        depth, melted = without_terraces(depth.to(mesh.depth))
        alignment = fit_alignment(depth, mesh.depth, mesh.sure, whose)
        remarks += (f"Depth {whose}: {alignment}{'; its 8-bit steps were smoothed' if melted else ''}.",)
        if normals is not None:
            alignment = alignment.as_deep_as(depth, normals, camera, mesh)
        aligned = alignment.apply(depth).to(mesh.depth)
        surface = torch.where(torch.isfinite(aligned), aligned, mesh.depth)
        head = replace(head, depth=surface, normals=steady_normals(surface, camera), measured=torch.isfinite(aligned))
    if told is not None:
        head = replace(head, normals=torch.where(told, unit(normals), head.normals), told=told)
    for remark in remarks:
        _log.info("%s", remark)
    return replace(head, sure=torch.zeros_like(mesh.sure), remarks=remarks)


def steady_normals(depth: Float[Tensor, "height width"], camera: Camera) -> Float[Tensor, "3 height width"]:
    """Return the normals of a depth map that may be grainy: of its smoothed form, but as they are where it jumps."""
    smooth = _smoothed(depth)
    jumps = (depth - smooth).abs() > JUMP
    return torch.where(jumps, normals_of_depth(depth, camera), normals_of_depth(smooth, camera))


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


def fit_alignment(
    depth: Float[Tensor, "height width"],
    target: Float[Tensor, "height width"],
    face: Bool[Tensor, "height width"],
    whose: str = "map",
) -> Alignment:
    """Fit the affine function of ``depth`` that lies nearest to ``target`` on the face.

    The given depth is regressed on the target by least absolute deviations (IRLS, begun at the line with the least
    median residual of some hundreds): what is wrong in a map is then an outlier of the regression, however far off,
    and has no leverage. The target, a fitted head, has errors of its own, which make that line too flat; so what lies
    near it is regressed the other way round.

    Raises:
        InputError: too few pixels, or no affine function of ``depth`` resembles the face.

    """
    used = face & torch.isfinite(depth)
    x, y = target[used].double(), depth[used].double()
    spread = (y - y.median()).abs().median() if len(y) >= MIN_PIXELS else y.new_zeros(())
    if not spread > 0:
        raise InputError(f"The depth {whose} has no relief on the face: give one of this crop, or use provider 'mesh'.")
    middle, level = x.median(), y.median()
    x, y = x - middle, y - level
    line = _least_absolute(x, y, _line_of_least_median(x, y), spread)
    residual = (y - line[0] * x - line[1]).abs()
    explained = float(1.0 - residual.median() / spread)
    if explained < MIN_EXPLAINED:
        raise InputError(
            f"The depth {whose} does not resemble the face: give one of this crop, or use provider 'mesh'."
        )
    near = residual <= NEAR * residual.median()
    back = torch.stack((1.0 / line[0], -line[1] / line[0]))
    factor, shift = _least_absolute(y[near], x[near], back, (x[near] - x[near].median()).abs().median())
    return Alignment(float(1.0 / factor), float(level - shift / factor), float(middle), explained)


def _least_absolute(
    x: Float[Tensor, "n"], y: Float[Tensor, "n"], line: Float[Tensor, "2"], spread: Float[Tensor, ""]
) -> Float[Tensor, "2"]:
    """Return slope and offset of ``y`` over ``x`` by least absolute deviations, begun at ``line``."""
    columns = torch.stack((x, torch.ones_like(x)), dim=1)
    for _ in range(ROUNDS):
        residual = (y - columns @ line).abs()
        weighted = columns / residual.clamp(min=1e-3 * float(spread))[:, None]
        line = torch.linalg.solve(weighted.T @ columns, weighted.T @ y)
    return line


def _line_of_least_median(x: Float[Tensor, "n"], y: Float[Tensor, "n"]) -> Float[Tensor, "2"]:
    """Return the line through two of the points that leaves the least median residual: half of them may be wrong."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(len(y), (LINES, 2), generator=generator).to(y.device)
    judges = torch.randint(len(y), (JUDGES,), generator=generator).to(y.device)
    run = x[pairs[:, 1]] - x[pairs[:, 0]]
    slopes = (y[pairs[:, 1]] - y[pairs[:, 0]]) / torch.where(run.abs() > 0, run, torch.inf)
    offsets = y[pairs[:, 0]] - slopes * x[pairs[:, 0]]
    off = (y[judges] - slopes[:, None] * x[judges] - offsets[:, None]).abs()
    best = off.median(dim=1).values.argmin()
    return torch.stack((slopes[best], offsets[best]))


def without_terraces(depth: Float[Tensor, "height width"]) -> tuple[Float[Tensor, "height width"], bool]:
    """Smooth a depth map that has the steps of 8 bits; return it, and whether it had.

    Between two steps such a map is flat, and its normals would say so.
    """
    known = torch.isfinite(depth)
    if len(torch.unique(depth[known])) > LEVELS:
        return depth, False
    return _smoothed(depth), True


def _smoothed(depth: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    known = torch.isfinite(depth)
    planes = torch.stack((torch.where(known, depth, 0.0), known.to(depth)))[None]
    for _ in range(2):
        planes = avg_pool2d(planes, BLUR, stride=1, padding=BLUR // 2)
    total, weight = planes[0]
    return torch.where(known, total / weight.clamp(min=1e-6), depth)
