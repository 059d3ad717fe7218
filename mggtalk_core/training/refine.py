"""``train refine``: the geometry refinement (paper 3.1, eq. 2), on rendered heads whose true shape is known."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, smooth_l1_loss
from torch.utils.data import Dataset

from ..errors import InputError
from ..geometry.refine import DEPTH_GAIN, SHAPE_GAIN, features, write_network
from ..geometry.refine_chart import load_chart
from ..geometry.refine_net import CONFIGS, GEOMETRY, RefineConfig, RefineNet, mirrored
from ..head.model import HeadModel, load_head_model
from ..progress import OnStep, ignore_steps
from .loop import train
from .refine_data import read_example
from .stage import Batch, LoopOptions

GAP = 8
"""Channel of the landmarks' own depth."""
GAP_WANDER, SHAPE_WANDER = 0.015, 0.01
"""Standard deviation of the slow errors that are added to that and to the shape, units of 10 cm."""
GAP_SCALE = 0.15
"""And of the factor on the landmarks' depth."""
WANDER_CELLS = 5
UNSEEN = 0.3
"""Share of examples without a picture."""
HUBER = 0.05
"""Errors beyond this many units pull no harder: outlines, not shapes."""
SMOOTHNESS = 0.05
FACE_BACK = -0.7
"""Canonical z before which lies the face."""
MILLIMETRES = 100.0


class HeadSet:
    """The rendered heads of a folder, as features and errors of depth; read once and kept."""

    def __init__(self, folder: Path, config: RefineConfig) -> None:
        """Find the heads.

        Raises:
            InputError: there are none.
        """
        self._paths = sorted(Path(folder).glob("head_*.safetensors"))
        if not self._paths:
            raise InputError(f"There are no rendered heads in {folder}: give the folder that they were drawn into.")
        self._model, self._chart = load_head_model(), load_chart(config.grid)
        self._read = cache(self._example)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._paths)

    def __getitem__(self, index: int) -> Batch:
        """Return ``features`` [16, grid, grid], ``depth`` [v] and ``weight`` [v]."""
        return self._read(index)

    def _example(self, index: int) -> Batch:
        example = read_example(self._paths[index])
        read = features(example.fit, self._model, example.landmarks, example.picture, self._chart)
        return {"features": read, "depth": example.depth, "weight": example.weight}

    def mirrored(self, head: Batch) -> Batch:
        """Return the mirror image of a head."""
        other = self._model.mirror
        read = mirrored(head["features"][None])[0]
        return {"features": read, "depth": head["depth"][other], "weight": head["weight"][other]}


class Examples(Dataset[Batch]):
    """An endless row of heads, spoilt a little differently each time; the n-th depends on n and the seed alone."""

    def __init__(self, heads: HeadSet, seed: int) -> None:
        self._heads, self._seed = heads, seed

    def __len__(self) -> int:
        """Return more than is ever taken."""
        return 2**40

    def __getitem__(self, number: int) -> Batch:
        """Return one head."""
        random = np.random.default_rng([self._seed, number])
        head = self._heads[int(random.integers(len(self._heads)))]
        if random.random() < 0.5:
            head = self._heads.mirrored(head)
        return head | {"features": spoilt_features(head["features"], random)}


def spoilt_features(read: Float[Tensor, "c grid grid"], random: np.random.Generator) -> Float[Tensor, "c grid grid"]:
    """Return features with what real pictures have more of than rendered ones.

    The landmarks' depth and the shape are bent slowly, the colours are other ones or none: what is learned must not
    hang on skin that shades like a mathematician's.
    """
    spoilt, grid = read.clone(), read.shape[-1]
    mask = read[GEOMETRY - 1 : GEOMETRY]
    bend = torch.from_numpy(random.standard_normal((1, 4, WANDER_CELLS, WANDER_CELLS))).float()
    bend = interpolate(bend, size=(grid, grid), mode="bicubic", align_corners=True)[0] * mask
    spoilt[GAP] = read[GAP] * float(1.0 + GAP_SCALE * random.standard_normal()) + DEPTH_GAIN * GAP_WANDER * bend[0]
    spoilt[:3] += SHAPE_GAIN * SHAPE_WANDER * bend[1:]
    spoilt[GEOMETRY:] = _recoloured(read[GEOMETRY:], random)
    return spoilt


def _recoloured(colours: Float[Tensor, "3 grid grid"], random: np.random.Generator) -> Float[Tensor, "3 grid grid"]:
    """Return colours mixed anew, lit slowly from elsewhere and noisy; or none at all."""
    if random.random() < UNSEEN:
        return torch.zeros_like(colours)
    seen = (colours != 0.0).any(dim=0)
    mix = (
        torch.eye(3) * float(random.uniform(0.6, 1.4)) + torch.from_numpy(0.2 * random.standard_normal((3, 3))).float()
    )
    light = torch.from_numpy(random.standard_normal((1, 1, 4, 4))).float()
    light = interpolate(light, size=colours.shape[-2:], mode="bicubic", align_corners=True)[0]
    grain = torch.from_numpy(random.standard_normal(tuple(colours.shape))).float()
    return (torch.einsum("ij,jhw->ihw", mix, colours) + 0.5 * light + 0.1 * grain) * seen


class RefineStage:
    """The refinement as a `Stage`."""

    critic: nn.Module | None = None

    def __init__(self, heads: HeadSet, val: HeadSet | None, config: RefineConfig, *, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.network: nn.Module = RefineNet(config)
        self._heads, self._val, self._seed = heads, val, seed
        self._model, self._chart = load_head_model(), load_chart(config.grid)
        self._area = vertex_area(self._model)

    def examples(self) -> Dataset[Batch]:
        """Return an endless row of examples."""
        return Examples(self._heads, self._seed)

    def made(self, network: nn.Module, batch: Batch) -> Float[Tensor, "b 1 grid grid"]:
        """Return the corrections on the chart."""
        return network(batch["features"])

    def losses(
        self, made: Float[Tensor, "b 1 grid grid"], batch: Batch, critic: nn.Module | None, step: int
    ) -> dict[str, Tensor]:
        """Return the error of depth at the vertices, and how uneven the correction is."""
        weight = batch["weight"] * self._area.to(made.device)
        found = self._chart.at_vertices(made)
        error = smooth_l1_loss(found, batch["depth"], reduction="none", beta=HUBER)
        slopes = (made.diff(dim=-1).square().mean(), made.diff(dim=-2).square().mean())
        return {
            "depth": (error * weight).sum() / weight.sum() / HUBER,
            "smoothness": SMOOTHNESS * sum(slopes) / HUBER**2,
        }

    def critic_loss(self, made: Tensor, batch: Batch, critic: nn.Module, step: int) -> None:
        """Return nothing: there is no discriminator."""

    @torch.no_grad()
    def judge(self, network: nn.Module) -> tuple[dict[str, float], None]:
        """Return the mean error of depth on the visible face in mm, without and with the correction."""
        if self._val is None:
            return {}, None
        before, after = [], []
        face = (self._model.mean[:, 2] > FACE_BACK).float() * self._area
        for index in range(len(self._val)):
            head = self._val[index]
            weight = (head["weight"] > 0.9) * face
            found = self._chart.at_vertices(network(head["features"][None]))[0]
            for errors, shift in ((before, 0.0), (after, found)):
                errors.append(float(((head["depth"] - shift).abs() * weight).sum() / weight.sum()) * MILLIMETRES)
        return {"depth_before": float(np.mean(before)), "depth_after": float(np.mean(after))}, None

    def write(self, network: RefineNet, path: Path, step: int) -> None:
        """Write the averaged weights."""
        write_network(path, network, {"steps": str(step), "heads": str(len(self._heads))})


def vertex_area(model: HeadModel) -> Float[Tensor, "v"]:
    """Return the area of the mean head that belongs to each vertex, units squared."""
    a, b, c = model.mean[model.triangles].unbind(1)
    third = torch.linalg.cross(b - a, c - a).norm(dim=1) / 6.0
    area = torch.zeros(len(model.mean))
    for corner in range(3):
        area.index_add_(0, model.triangles[:, corner], third)
    return area


def train_refine(
    heads: Path,
    val: Path | None,
    options: LoopOptions,
    *,
    config: RefineConfig | None = None,
    on_step: OnStep = ignore_steps,
) -> None:
    """Train the refinement on the rendered heads of a folder; see `train` and `prepare_heads`.

    Raises:
        InputError: no heads, or what `train` says.
    """
    config = config or CONFIGS["embedded"]
    kept = None if val is None else HeadSet(val, config)
    train(RefineStage(HeadSet(heads, config), kept, config, seed=options.seed), options, on_step=on_step)
