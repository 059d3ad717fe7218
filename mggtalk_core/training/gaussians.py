"""``train gaussians``: identity encoder, Gaussian decoders and densification, end to end through the rasteriser."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..evaluation.metrics import psnr
from ..gaussians.gaussians import Gaussians
from ..gaussians.learned import coarse, dense, displacement_of, driven_head
from ..gaussians.networks.config import CONFIGS, GaussianConfig, Switches
from ..gaussians.networks.model import DrivenHead, GaussianNetworks, HeadImage, write_gaussians
from ..head.camera import Camera
from ..motion.deform_net import DeformNet, read_deform
from ..parallel import one_thread
from ..progress import OnStep, ignore_steps
from ..render.rasterize import render
from .head_losses import HeadLoss, at_size
from .inpaint_data import pixel_weight
from .loop import train
from .pairs import Pair, PairSet
from .perceptual import Lpips
from .sitters import BuildAvatar, Sitters
from .stage import Batch, LoopOptions

RUN = 6
"""Neighbouring examples that share a source: to build an avatar takes as long as some steps."""
JUDGED = 24
"""Pairs that are judged."""
SHOWN = 4
"""Pairs on a sheet."""


class GaussianExamples(Dataset[Batch]):
    """An endless row of examples: the n-th depends on the seed and n alone.

    People are drawn evenly, then one of their sources, then targets of it.
    """

    def __init__(self, pairs: PairSet, seed: int, size: int) -> None:
        self._pairs, self._seed, self._size = pairs, seed, size
        self._people = _sources_by_person(pairs)

    def __len__(self) -> int:
        """Return a length that no training reaches."""
        return 2**40

    def __getitem__(self, number: int) -> Batch:
        """Return the n-th example."""
        choice, random = (np.random.default_rng((self._seed, k, n)) for k, n in ((0, number // RUN), (1, number)))
        person = self._people[choice.integers(len(self._people))]
        source = person[choice.integers(len(person))]
        index = int(source[random.integers(len(source))])
        example = example_of(self._pairs[index], self._size)
        backdrop = torch.from_numpy(random.uniform(0.0, 1.0, 3)).float()
        return example | {"index": torch.tensor(index), "backdrop": backdrop}


def _sources_by_person(pairs: PairSet) -> list[list[range]]:
    """Return the pairs of every source of every person."""
    ends = np.cumsum([len(shard) for shard in pairs.shards]).tolist()
    sources = [range(end - len(shard), end) for end, shard in zip(ends, pairs.shards, strict=True)]
    people = [set(indices) for indices in pairs.by_identity.values()]
    return [[source for source in sources if source[0] in person] for person in people]


def example_of(pair: Pair, size: int) -> Batch:
    """Return the true head image ``I_GT^h`` of a pair, its matte and the weight of every pixel, ``size`` pixels wide.

    The head image is premultiplied: what lies behind the head is put in later.
    """
    matte = pair.matte.float() / 255.0
    maps = {"truth": pair.truth.float() / 255.0 * matte, "matte": matte, "weight": pixel_weight(pair)}
    return {name: at_size(value[None], size)[0] for name, value in maps.items()}


class Scenes:
    """Pairs as the networks see them: avatars driven to their targets, and cameras on them."""

    def __init__(
        self, pairs: PairSet, config: GaussianConfig, size: int, deform: DeformNet | None, build: BuildAvatar | None
    ) -> None:
        self.pairs, self._switches, self._size, self._deform = pairs, config.switches, size, deform
        self._sitters = Sitters(pairs, config, build=build)

    @torch.no_grad()
    def head(self, index: int, device: torch.device) -> tuple[DrivenHead, HeadImage]:
        """Return the driven head of a pair, and its source's head image."""
        pair, sitter = self.pairs[index], self._sitters.of_pair(index)
        # In half precision the points themselves would move by millimetres.
        with one_thread(), torch.autocast(device.type, enabled=False):
            head = driven_head(
                sitter.avatar, sitter.cells, pair.beta, pair.gaze, _camera(pair),
                displacement_of(sitter.avatar, self._deform), self._switches,
            )  # fmt: skip
        return head.to(device), sitter.image.to(device)

    def draw(self, gaussians: Gaussians, index: int, backdrop: Float[Tensor, "3"]) -> Float[Tensor, "3 h w"]:
        """Render Gaussians from the target's viewpoint (D.5)."""
        # Not antialiased, at no size: analytic Gaussians are so small that they count on the rasteriser's low pass.
        return render(gaussians, _camera(self.pairs[index]).resized(self._size, self._size), backdrop).rgb


def _camera(pair: Pair) -> Camera:
    return pair.fit.camera.posed(pair.rotation, pair.translation)


class GaussianStage:
    """The networks of the Gaussian stage as a `Stage`."""

    critic: nn.Module | None = None

    def __init__(
        self,
        pairs: PairSet,
        val: PairSet | None,
        config: GaussianConfig,
        *,
        seed: int = 0,
        size: int = 512,
        loss: HeadLoss | None = None,
        deform: DeformNet | None = None,
        build: BuildAvatar | None = None,
    ) -> None:
        """Take up pairs to learn from and, where there are some, pairs of other people to judge by.

        Args:
            pairs: to learn from.
            val: to judge by.
            config: sizes and switches.
            seed: of weights and examples.
            size: edge in pixels of the pictures that are compared.
            loss: weights of eq. 7; the perceptual term needs the weights of LPIPS unless it is 0.
            deform: trained deformation that moves the points.
            build: makes avatars; as the pipeline does when None.
        """
        torch.manual_seed(seed)
        self.network: nn.Module = GaussianNetworks(config)
        self._seed, self._size, self._loss = seed, size, loss or HeadLoss()
        self._lpips = Lpips() if self._loss.perceptual > 0.0 else None
        self._scenes = Scenes(pairs, config, size, deform, build)
        self._judged = None if val is None else Scenes(val, config, size, deform, build)

    def examples(self) -> Dataset[Batch]:
        """Return an endless row of examples."""
        return GaussianExamples(self._scenes.pairs, self._seed, self._size)

    def made(self, network: nn.Module, batch: Batch) -> Float[Tensor, "b 2 3 h w"]:
        """Return the coarse and the dense render of every example over its backdrop."""
        indices, device = batch["index"].tolist(), batch["truth"].device
        heads, images = zip(*(self._scenes.head(index, device) for index in indices), strict=True)
        made = []
        for place, (head, offsets) in enumerate(zip(heads, network(heads, images), strict=True)):
            drawn = [
                self._scenes.draw(gaussians, indices[place], batch["backdrop"][place])
                for gaussians in (coarse(head, offsets), dense(head, offsets))
            ]
            made.append(torch.stack(drawn))
        return torch.stack(made)

    def losses(
        self, made: Float[Tensor, "b 2 3 h w"], batch: Batch, critic: nn.Module | None, step: int
    ) -> dict[str, Tensor]:
        """Return the terms of eq. 7; the truth stands before the same backdrop as the renders."""
        truth = batch["truth"] + (1.0 - batch["matte"]) * batch["backdrop"][..., None, None]
        lpips = None if self._lpips is None else self._lpips.to(made.device)
        return self._loss(made[:, 0], made[:, 1], truth, batch["weight"], lpips)

    def critic_loss(self, made: Tensor, batch: Batch, critic: nn.Module, step: int) -> Float[Tensor, ""] | None:
        """Return nothing: this stage has no discriminator."""
        return None

    @torch.no_grad()
    def judge(self, network: nn.Module) -> tuple[dict[str, float], Float[Tensor, "3 h w"] | None]:
        """Return the mean PSNR of the head without and with the networks, and a sheet: truth, without, with."""
        if self._judged is None:
            return {}, None
        chosen = range(0, len(self._judged.pairs), max(1, len(self._judged.pairs) // JUDGED))
        rows = [_judged(self._judged, network, index, self._size) for index in chosen]
        names = ("head_psnr_analytic", "head_psnr_learned")
        figures = {name: float(np.mean([row[place] for row, _ in rows])) for place, name in enumerate(names)}
        return figures, torch.cat([sheet for _, sheet in rows[:: max(1, len(rows) // SHOWN)]][:SHOWN], dim=1)

    def write(self, network: nn.Module, path: Path, step: int) -> None:
        """Write the averaged weights."""
        write_gaussians(path, network, {"steps": str(step), "pairs": str(len(self._scenes.pairs))})


def _judged(
    scenes: Scenes, network: nn.Module, index: int, size: int
) -> tuple[tuple[float, float], Float[Tensor, "3 h 3w"]]:
    """Return PSNR without and with a network in the true matte over grey, and truth and both renders side by side."""
    grey, example = torch.full((3,), 0.5), example_of(scenes.pairs[index], size)
    head, image = scenes.head(index, next(network.parameters()).device)
    drawn = [
        scenes.draw(gaussians, index, grey).cpu()
        for gaussians in (head.analytic, dense(head, network([head], [image])[0]))
    ]
    truth = example["truth"] + 0.5 * (1.0 - example["matte"])
    plain, learned = (psnr(each, truth, example["matte"]) for each in drawn)
    return (plain, learned), torch.cat((truth, *drawn), dim=2)


def train_gaussians(
    pairs: str | os.PathLike[str],
    val: str | os.PathLike[str] | None,
    options: LoopOptions,
    *,
    config: str = "embedded",
    switches: Switches | None = None,
    deform: str | os.PathLike[str] | None = None,
    size: int = 512,
    on_step: OnStep = ignore_steps,
) -> None:
    """Train the networks of the Gaussian stage on the pairs of a folder; see `train`.

    Args:
        pairs: folder of pairs.
        val: folder of pairs of other people, to judge by.
        options: how long and how fast.
        config: ``embedded`` or ``paper``.
        switches: what the method has; all of it when None.
        deform: trained deformation.
        size: edge in pixels of the pictures that are compared.
        on_step: progress.

    Raises:
        InputError: no pairs, or what `train` says.
        WeightsError: the perceptual distance or the deformation cannot be read.
    """
    kept = None if val is None else PairSet(val)
    stage = GaussianStage(
        PairSet(pairs), kept, CONFIGS[config].with_switches(switches or Switches()), seed=options.seed, size=size,
        deform=None if deform is None else read_deform(deform),
    )  # fmt: skip
    train(stage, options, on_step=on_step)
