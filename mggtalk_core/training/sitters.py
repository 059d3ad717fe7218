"""Avatars of the sources of training pairs, built as the pipeline builds them, with what an ablation takes away."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..gaussians.avatar import Avatar, build_avatar
from ..gaussians.calibrate import calibrate
from ..gaussians.gaussians import Gaussians
from ..gaussians.networks.cells import Cells
from ..gaussians.networks.config import GaussianConfig, Switches
from ..gaussians.networks.model import HeadImage
from ..geometry.mirror_plane import MirrorPlane
from ..geometry.points import HeadPoints, Label
from ..geometry.reconstruct import reconstruct_surface
from ..geometry.symmetry import OPAQUE, symmetric_geometry
from ..head.camera import Camera
from ..head.model import HeadModel, load_head_model
from ..head.parts import Part
from ..motion.deform import bind_points
from ..parallel import one_thread
from ..portrait.portrait import Portrait
from ..render.rasterize import render
from .pairs import Pair, PairSet


@dataclass(frozen=True)
class Sitter:
    """An avatar and the picture that it was made of."""

    avatar: Avatar
    cells: Cells
    image: HeadImage


BuildAvatar = Callable[[Pair, Switches], tuple[Avatar, HeadImage]]


class KeptAvatars:
    """A `BuildAvatar` that remembers: trainings that follow each other share avatars, some 45 MB each."""

    def __init__(self, kept: int, build: BuildAvatar | None = None) -> None:
        self._kept, self._build = kept, build or avatar_of
        self._ready: OrderedDict[tuple[object, ...], tuple[Avatar, HeadImage]] = OrderedDict()

    def __call__(self, pair: Pair, switches: Switches) -> tuple[Avatar, HeadImage]:
        """Return the avatar of a pair's source with what the switches leave of its geometry."""
        key = (switches.geometry, pair.source_key)
        if key not in self._ready:
            self._ready[key] = self._build(pair, switches)
        self._ready.move_to_end(key)
        while len(self._ready) > self._kept:
            self._ready.popitem(last=False)
        return self._ready[key]


class Sitters:
    """The sitters of a set of pairs; as many as ``kept`` stay in memory, some 80 MB each."""

    def __init__(
        self, pairs: PairSet, config: GaussianConfig, *, kept: int = 8, build: BuildAvatar | None = None
    ) -> None:
        self._pairs, self._config, self._kept = pairs, config, kept
        self._build = build or avatar_of
        self._source = [number for number, shard in enumerate(pairs.shards) for _ in range(len(shard))]
        self._ready: OrderedDict[int, Sitter] = OrderedDict()

    def of_pair(self, index: int) -> Sitter:
        """Return the sitter of a pair, who is built where nobody remembers him."""
        source = self._source[index]
        if source not in self._ready:
            avatar, image = self._build(self._pairs[index], self._config.switches)
            self._ready[source] = Sitter(avatar, Cells.of(avatar.points, self._config.cell), image)
        self._ready.move_to_end(source)
        while len(self._ready) > self._kept:
            self._ready.popitem(last=False)
        return self._ready[source]


@one_thread()
@torch.no_grad()
def avatar_of(pair: Pair, switches: Switches) -> tuple[Avatar, HeadImage]:
    """Build the avatar of a pair's source picture (paper 3.1) with what the switches leave of it."""
    model = load_head_model()
    portrait = portrait_of(pair)
    fit = pair.fit if switches.refinement else pair.coarse
    points = symmetric_geometry(reconstruct_surface(portrait, fit, model), model)
    points = switched(points, portrait, model, switches)
    avatar = calibrate(build_avatar(portrait, points, bind_points(points, model)), portrait, _draw)
    return avatar, HeadImage(portrait.crop, portrait.matte)


def portrait_of(pair: Pair) -> Portrait:
    """Return the portrait that a pair's source was."""
    crop = pair.source.float() / 255.0
    return Portrait(
        source=crop,
        crop=crop,
        crop_transform=torch.eye(3)[:2],
        matte=pair.source_matte.float() / 255.0,
        background=pair.background.float() / 255.0,
        labels=pair.labels[0],
        landmarks=pair.source_landmarks,
        blendshapes=pair.fit.beta_s,
        score=1.0,
    )


def switched(points: HeadPoints, portrait: Portrait, model: HeadModel, switches: Switches) -> HeadPoints:
    """Return the points that the switches leave: without mirrored ones, or with unfiltered ones."""
    if not switches.symmetry:
        return with_mirrored(points, torch.empty(0, dtype=torch.long))
    if not switches.voxel_filter or switches.symmetry_in == "sgp":  # there, every frame has a filter of its own
        return with_mirrored(points, mirrorable(points, portrait, model))
    return points


def mirrorable(points: HeadPoints, portrait: Portrait, model: HeadModel) -> Int[Tensor, "s"]:
    """Return the visible points that may be mirrored: opaque, and not on eyeballs or teeth."""
    column, row = points.pixel.long().unbind(-1)
    triangle = points.triangle[: points.visible_count].long()
    part = model.parts[model.triangles[triangle.clamp(min=0), 0]]
    outer = (triangle < 0) | (part <= int(Part.SCALP))
    return torch.nonzero(outer & (portrait.matte[0, row, column] > OPAQUE)).squeeze(-1)


def with_mirrored(points: HeadPoints, rows: Int[Tensor, "s"]) -> HeadPoints:
    """Return the cloud with the mirror images (x -> -x) of these visible points in place of its own, unfiltered."""
    first, last, count = points.visible_count, points.visible_count + points.mirrored_count, len(rows)
    plane = MirrorPlane.canonical().to(points.positions.device)

    def put(values: Tensor, new: Tensor) -> Tensor:
        return torch.cat((values[:first], new.to(values), values[last:]))

    return replace(
        points,
        positions=put(points.positions, plane.reflect(points.positions[rows])),
        labels=put(points.labels, torch.full((count,), int(Label.MIRRORED))),
        mirror_of=rows,
        plane=plane,
        triangle=put(points.triangle, torch.full((count,), -1)),
        barycentric=put(points.barycentric, torch.zeros(count, 3)),
    )


def _draw(gaussians: Gaussians, camera: Camera, background: Float[Tensor, "3"]) -> tuple[Tensor, ...]:
    rendering = render(gaussians, camera, background)
    return rendering.rgb, rendering.alpha, rendering.depth
