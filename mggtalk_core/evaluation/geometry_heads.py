"""The stages of the head's geometry on rendered heads whose shape is known (paper figures 10 and 11)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import InputError, WeightsError
from ..geometry.given_provider import given_estimate
from ..geometry.mesh_provider import Estimate, mesh_estimate
from ..geometry.mirror_plane import MirrorPlane, mirror_plane
from ..geometry.network_provider import NETWORKS
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
from ..studio.paint import FaceChart
from ..studio.rendered_heads import HeadStudio
from ..studio.source_head import read_source
from ..weights.policy import Downloads, using_policy
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
"""Standard deviation of the components of imagined normals over cells of 8 pixels, radians."""
NORMAL_BEND = 0.08
"""The same of a smooth error over `RELIEF_CELLS` cells of the crop."""
TURNED = 30.0
"""Degrees from which on a head hides one of its sides."""
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

    @property
    def is_turned(self) -> bool:
        """Whether one of the head's sides is hidden."""
        return abs(self.yaw) >= TURNED

    def surface(self, **options: Any) -> Surface:
        """Return the pipeline's surface; see `reconstruct_surface` for the options."""
        return reconstruct_surface(self.portrait, self.fit, self.model, **options)

    def well_cut(self) -> Subject:
        """Return the same head cut out as it should be: mattes are trained on photographs, not on rendered heads."""
        matte = (self.truth.depth > 0).to(self.portrait.matte)[None]
        return replace(self, portrait=replace(self.portrait, matte=matte))

    def estimate(self, maps: Mapping[str, Tensor]) -> Estimate:
        """Return what is integrated: the fitted head, with ``depth`` and ``normals`` in the place of its own."""
        mesh = mesh_estimate(self.portrait, self.fit, self.model)
        return given_estimate(mesh, self.fit.camera, maps.get("depth"), maps.get("normals")) if maps else mesh


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


Refine = Callable[[HeadFit, HeadModel, Tensor, Tensor], HeadFit]
"""The learned refinement of eq. 2: from a fit, its model, the landmarks and the crop; see `refined_fit`."""


def stage_rows(subject: Subject, refine: Refine | None = None) -> list[Row]:
    """Return the errors of every provider and stage on one head.

    ``imagined depth``, ``imagined normals`` and ``imagined both`` stand for a network: the true maps with the kinds of
    error that depth networks make, an unknown scale and shift among them. ``true maps`` are those without the errors,
    and the head cut out rightly: what is left is the stages' own. GeoWizard and Marigold themselves are measured where
    their weights are present; none are fetched for it.

    Args:
        subject: the head.
        refine: fills the stage ``P_f``, with the mesh.
    """
    rows = []
    for provider, maps in imagined_providers(subject).items():
        rows += _provider_rows(subject, provider, subject.surface(**maps), subject.estimate(maps))
    cut, truth = subject.well_cut(), true_maps(subject.truth)
    rows += _provider_rows(cut, "true maps", cut.surface(**truth), cut.estimate(truth))
    for provider in NETWORKS:
        surface = _network_surface(subject, provider)
        rows += [] if surface is None else _provider_rows(subject, provider, surface, None)
    if refine is not None:
        fit = refine(subject.fit, subject.model, subject.portrait.landmarks, subject.portrait.crop)
        surface = reconstruct_surface(subject.portrait, fit, subject.model)
        rows += _provider_rows(subject, "mesh", surface, None, stages=("P_f", "P_f, mirrored"))
    return rows


def imagined_providers(subject: Subject) -> dict[str, dict[str, Tensor]]:
    """Return the maps of the providers that need no weights."""
    depth, normals = imagined_maps(subject.truth, subject.seed)
    return {
        "mesh": {},
        "imagined depth": {"depth": depth},
        "imagined normals": {"normals": normals},
        "imagined both": {"depth": depth, "normals": normals},
    }


def _network_surface(subject: Subject, provider: str) -> Surface | None:
    """Return what a network makes of the picture; None where its weights or packages are not here."""
    with using_policy(downloads=Downloads.NONE):
        try:
            return subject.surface(provider=provider)
        except (InputError, WeightsError):
            return None


def _provider_rows(
    subject: Subject,
    provider: str,
    surface: Surface,
    estimate: Estimate | None,
    stages: tuple[str, str] = ("P_c", "mirrored"),
) -> list[Row]:
    """Return a row per stage: the provider's estimate, the surface, and its mirrored half.

    The half is mirrored about the plane that was found and, to tell what that plane costs, about the true one.
    """
    truth, camera = subject.truth, surface.fit.camera
    head = {"head": subject.seed - FIRST_SEED, "yaw": subject.yaw, "provider": provider}
    rows = []
    if estimate is not None:
        errors, _ = map_errors(truth, estimate.mask, lifted(estimate, camera), estimate.normals)
        rows.append({**head, "stage": "estimate", **errors})
    fused, laid = map_errors(truth, surface.mask, surface.position_map, surface.normals)
    rows.append({**head, "stage": stages[0], **fused})
    for stage, plane in ((stages[1], None), (f"{stages[1]}, true plane", true_plane(laid))):
        points = symmetric_geometry(surface, subject.model, plane=plane)
        rows.append({**head, "stage": stage, **other_side_errors(truth, points, laid, voxel=0.03)})
    return rows


def filter_rows(subject: Subject) -> list[Row]:
    """Return the errors of the mirrored half for every reading of the voxel filter (3.1 and D.1) and of the plane.

    Measured on the surface of ``imagined both``: what the filter drops does not show on a surface that is far off.
    """
    depth, normals = imagined_maps(subject.truth, subject.seed)
    surface = subject.surface(depth=depth, normals=normals)
    _, laid = map_errors(subject.truth, surface.mask, surface.position_map, surface.normals)
    found = mirror_plane(surface, subject.model)
    rows = []
    for name, plane in (("x = 0", MirrorPlane.canonical()), ("found", found), ("true", true_plane(laid))):
        for voxel in VOXELS if name == "found" else (0.03,):
            for radius, occlusion in itertools.product((0, 1), _OCCLUSIONS):
                reading = {"plane": name, "voxel": voxel, "radius": radius, "occlusion": occlusion}
                points = symmetric_geometry(
                    surface, subject.model, voxel=voxel, radius=radius, occlusion=occlusion, plane=plane
                )
                errors = other_side_errors(subject.truth, points, laid, voxel)
                rows.append({"head": subject.seed - FIRST_SEED, "yaw": subject.yaw, **reading, **errors})
    return rows


def true_plane(laid: Similarity) -> MirrorPlane:
    """Return the true plane of symmetry in the space of a surface that ``laid`` lays on the truth."""
    return MirrorPlane(laid.rotation[0].clone(), -float(laid.shift[0]) / laid.scale)


_OCCLUSIONS: tuple[Occlusion, ...] = ("front", "behind")


def lifted(estimate: Estimate, camera: Camera) -> Float[Tensor, "3 height width"]:
    """Return the canonical position of every pixel of an estimate."""
    in_camera = (rays(camera) * estimate.depth).flatten(1).T
    return ((in_camera - camera.translation) @ camera.rotation).T.reshape(3, *estimate.depth.shape)


def true_maps(truth: Truth) -> dict[str, Tensor]:
    """Return the true depth and normals; NaN where there is no head."""
    outside = truth.depth == 0
    return {
        "depth": truth.depth.masked_fill(outside, torch.nan),
        "normals": truth.normals.masked_fill(outside, torch.nan),
    }


def imagined_maps(truth: Truth, seed: int) -> tuple[Float[Tensor, "512 512"], Float[Tensor, "3 512 512"]]:
    """Return depth and normals as a network might give them; NaN where there is no head."""
    random = np.random.default_rng([seed, 1])
    waves = torch.from_numpy(random.standard_normal((1, 1, RELIEF_CELLS, RELIEF_CELLS))).float()
    relief = RELIEF * interpolate(waves, size=truth.depth.shape, mode="bicubic")[0, 0]
    grain = GRAIN * torch.from_numpy(random.standard_normal(truth.depth.shape)).float()
    wanders = torch.from_numpy(random.standard_normal((1, 3, 64, 64))).float()
    bends = torch.from_numpy(random.standard_normal((1, 3, RELIEF_CELLS, RELIEF_CELLS))).float()
    turned = truth.normals + NORMAL_NOISE * interpolate(wanders, size=truth.depth.shape, mode="bilinear")[0]
    turned = turned + NORMAL_BEND * interpolate(bends, size=truth.depth.shape, mode="bicubic")[0]
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
        part = Table("", rows=[{name: row[name] for name in row if name not in (*keys, "head", "yaw")} for row in rows])
        means = {name: mean.value for name, mean in part.means().items()}
        short.rows.append({**dict(zip(keys, values, strict=True)), "n": len(rows), **means})
    return short


def evaluate_heads(
    folder: Path,
    count: int,
    *,
    refine: Refine | None = None,
    on_subject: Callable[[Subject], None] = lambda _subject: None,
    on_step: OnStep = ignore_steps,
) -> tuple[Table, Table]:
    """Measure the stages and the readings of the voxel filter on ``count`` rendered heads.

    Args:
        folder: ICT-FaceKit's raw data.
        count: heads; one in two is turned by 30 degrees.
        refine: the learned refinement, where there is one.
        on_subject: called with every head, for those who want to look at it.
        on_step: heads done, heads.

    Raises:
        InputError: the data are missing, or ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"{count} heads cannot be measured; ask for at least 1.")
    stages = Table("Geometry of rendered heads, by stage", {"heads": count})
    filters = Table("Geometry of rendered heads, by reading of the voxel filter", {"heads": count})
    for subject in subjects(folder, count, on_step):
        stages.rows += stage_rows(subject, refine)
        if subject.is_turned:
            filters.rows += filter_rows(subject)
        on_subject(subject)
    on_step(count, count)
    return stages, filters
