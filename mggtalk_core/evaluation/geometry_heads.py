"""The stages of the head's geometry on rendered heads whose shape is known (paper figures 10 and 11)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import InputError
from ..geometry.given_provider import given_estimate
from ..geometry.mesh_provider import Estimate, mesh_estimate
from ..geometry.normals import rays
from ..geometry.reconstruct import reconstruct_surface
from ..geometry.surface import Surface
from ..geometry.symmetry import symmetric_geometry
from ..geometry.voxel import Occlusion
from ..head.camera import Camera
from ..head.fit import fit_head
from ..head.head_fit import HeadFit
from ..head.model import HeadModel, load_head_model
from ..portrait.load import load_portrait
from ..portrait.portrait import Portrait
from ..progress import OnStep, ignore_steps
from ..training.head_model_source import read_source
from ..training.head_paint import FaceChart
from ..training.rendered_heads import HeadStudio
from .known_shapes import Similarity, Truth, map_errors, other_side_errors, truth_on_crop
from .tables import Row, Table

FIRST_SEED = 1_000_000
"""Heads from here on are for measuring; no training draws them."""
YAWS = (0.0, 15.0, 30.0, -30.0)
"""Degrees by which the heads are turned, in turn."""
RELIEF, RELIEF_CELLS = 0.03, 6
"""What a depth network gets wrong: a smooth error of this size (units of 10 cm) over so many cells of the crop."""
GRAIN = 0.003
"""And noise from pixel to pixel."""
NORMAL_NOISE = 0.05
"""Standard deviation of the components of imagined normals, radians."""
VOXELS = (0.02, 0.03, 0.05)


@dataclass(frozen=True)
class Subject:
    """One rendered head as the pipeline sees it, and the truth."""

    seed: int
    yaw: float
    portrait: Portrait
    fit: HeadFit
    truth: Truth
    model: HeadModel


def subjects(folder: Path, count: int, on_step: OnStep = ignore_steps) -> Iterator[Subject]:
    """Yield heads drawn from ICT-FaceKit's raw data in ``folder``.

    Raises:
        InputError: the data are missing.
    """
    model = load_head_model()
    studio = HeadStudio(read_source(folder), FaceChart(model))
    for index in range(count):
        on_step(index, count)
        head = studio.draw(FIRST_SEED + index, yaw=YAWS[index % len(YAWS)])
        portrait = load_portrait(head.image)
        fit = fit_head(model, portrait.landmarks, portrait.blendshapes, Camera.for_crop(512))
        truth = truth_on_crop(head, portrait)
        yield Subject(FIRST_SEED + index, YAWS[index % len(YAWS)], portrait, fit, truth, model)


def stage_rows(subject: Subject) -> list[Row]:
    """Return the errors of every provider and stage on one head.

    ``imagined depth``, ``imagined normals`` and ``imagined both`` stand for a network: the true maps with the kinds of
    error that depth networks make, an unknown scale and shift among them.
    """
    depth, normals = imagined_maps(subject.truth, subject.seed)
    rows = []
    for provider, maps in (
        ("mesh", (None, None)),
        ("imagined depth", (depth, None)),
        ("imagined normals", (None, normals)),
        ("imagined both", (depth, normals)),
    ):
        rows += _provider_rows(subject, provider, *maps)
    return rows


def _provider_rows(subject: Subject, provider: str, depth: Tensor | None, normals: Tensor | None) -> list[Row]:
    portrait, fit, model, truth = subject.portrait, subject.fit, subject.model, subject.truth
    head = {"head": subject.seed - FIRST_SEED, "yaw": subject.yaw, "provider": provider}
    estimate = mesh_estimate(portrait, fit, model)
    if depth is not None or normals is not None:
        estimate = given_estimate(estimate, fit.camera, depth, normals)
    surface = reconstruct_surface(portrait, fit, model, depth=depth, normals=normals)
    first, _ = map_errors(truth, estimate.mask, lifted(estimate, fit.camera), estimate.normals)
    fused, laid = map_errors(truth, surface.mask, surface.position_map, surface.normals)
    rows = [{**head, "stage": "estimate", **first}, {**head, "stage": "P_c", **fused}]
    return [*rows, {**head, "stage": "mirrored", **_mirrored(surface, subject, laid)}]


def _mirrored(surface: Surface, subject: Subject, laid: Similarity) -> Row:
    points = symmetric_geometry(surface, subject.model)
    return other_side_errors(subject.truth, points, laid, voxel=0.03)


def filter_rows(subject: Subject) -> list[Row]:
    """Return the errors of the mirrored half for every reading of the voxel filter (3.1 and D.1)."""
    surface = reconstruct_surface(subject.portrait, subject.fit, subject.model)
    _, laid = map_errors(subject.truth, surface.mask, surface.position_map, surface.normals)
    rows = []
    for voxel in VOXELS:
        for radius in (0, 1):
            for occlusion in _OCCLUSIONS:
                reading = {"voxel": voxel, "radius": radius, "occlusion": occlusion}
                points = symmetric_geometry(surface, subject.model, voxel=voxel, radius=radius, occlusion=occlusion)
                errors = other_side_errors(subject.truth, points, laid, voxel)
                rows.append({"head": subject.seed - FIRST_SEED, "yaw": subject.yaw, **reading, **errors})
    return rows


_OCCLUSIONS: tuple[Occlusion, ...] = ("front", "behind")


def lifted(estimate: Estimate, camera: Camera) -> Float[Tensor, "3 height width"]:
    """Return the canonical position of every pixel of an estimate."""
    in_camera = (rays(camera) * estimate.depth).flatten(1).T
    return ((in_camera - camera.translation) @ camera.rotation).T.reshape(3, *estimate.depth.shape)


def imagined_maps(truth: Truth, seed: int) -> tuple[Float[Tensor, "512 512"], Float[Tensor, "3 512 512"]]:
    """Return depth and normals as a network might give them; NaN where there is no head."""
    random = np.random.default_rng([seed, 1])
    waves = torch.from_numpy(random.standard_normal((1, 1, RELIEF_CELLS, RELIEF_CELLS))).float()
    relief = RELIEF * interpolate(waves, size=truth.depth.shape, mode="bicubic")[0, 0]
    grain = GRAIN * torch.from_numpy(random.standard_normal(truth.depth.shape)).float()
    wanders = torch.from_numpy(random.standard_normal((1, 3, 64, 64))).float()
    turned = truth.normals + NORMAL_NOISE * interpolate(wanders, size=truth.depth.shape, mode="bilinear")[0]
    depth = random.uniform(0.1, 0.3) * (truth.depth + relief + grain) + random.uniform(-1.0, 1.0)
    outside = truth.depth == 0
    normals = turned / turned.norm(dim=0, keepdim=True).clamp(min=1e-6)
    return depth.masked_fill(outside, torch.nan), normals.masked_fill(outside, torch.nan)


def means_by(table: Table, keys: Sequence[str]) -> Table:
    """Return the mean of every number over the rows that agree in ``keys``, with their count as ``n``."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in table.rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    short = Table(table.title, table.settings)
    for values, rows in groups.items():
        part = Table("", rows=[{name: row[name] for name in row if name not in (*keys, "head")} for row in rows])
        means = {name: mean.value for name, mean in part.means().items()}
        short.rows.append({**dict(zip(keys, values, strict=True)), "n": len(rows), **means})
    return short


def evaluate_heads(folder: Path, count: int, on_step: OnStep = ignore_steps) -> tuple[Table, Table]:
    """Measure the stages and the readings of the voxel filter on ``count`` rendered heads.

    Raises:
        InputError: the data are missing, or ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"{count} heads cannot be measured; ask for at least 1.")
    stages = Table("Geometry of rendered heads, by stage", {"heads": count})
    filters = Table("Geometry of rendered heads, by reading of the voxel filter", {"heads": count})
    for subject in subjects(folder, count, on_step):
        stages.rows += stage_rows(subject)
        if subject.yaw:
            filters.rows += filter_rows(subject)
    on_step(count, count)
    return stages, filters
