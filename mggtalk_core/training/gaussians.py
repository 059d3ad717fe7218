"""``train gaussians``: identity encoder, Gaussian decoders and densification, end to end through the rasteriser."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..evaluation.perceptual import Lpips
from ..evaluation.sheets import SheetRow, contact_sheet
from ..gaussians.learned import coarse, dense
from ..gaussians.networks.config import CONFIGS, GaussianConfig, Switches
from ..gaussians.networks.model import GaussianNetworks, write_gaussians
from ..motion.deform_net import DeformNet, read_deform
from ..portrait.portrait import CROP_SIZE
from ..progress import OnStep, ignore_steps
from .gaussian_data import GaussianExamples, Scenes
from .gaussian_judge import Judges, score_sources
from .head_losses import HeadLoss
from .loop import train
from .pairs import PairSet
from .sitters import BuildAvatar
from .stage import Batch, LoopOptions

SHOWN = ("psnr_head", "ssim_head", "lpips_head", "lpips_face", "sharpness_head", "psnr_eyes", "psnr_mouth")
CELL = 320
"""Edge of a picture on a sheet."""


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
        window: int | None = None,
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
            size: edge in pixels of the pictures that are drawn.
            window: edge in pixels of the part of them that is compared in a step; all of it when None.
            loss: weights of eq. 7; the perceptual term needs the weights of LPIPS unless it is 0.
            deform: trained deformation that moves the points.
            build: makes avatars; as the pipeline does when None.
        """
        torch.manual_seed(seed)
        self.network: nn.Module = GaussianNetworks(config)
        self._seed, self._size, self._window, self._loss = seed, size, min(window or size, size), loss or HeadLoss()
        self._lpips = Lpips() if self._loss.perceptual > 0.0 else None
        self._scenes = Scenes(pairs, config, size, deform, build)
        # Judged at full size, whatever the size that is learned from.
        self._judged = None if val is None else Scenes(val, config, CROP_SIZE, deform, build)
        self._judges, self._plain = Judges(self._lpips), []

    def examples(self) -> Dataset[Batch]:
        """Return an endless row of examples."""
        return GaussianExamples(self._scenes.pairs, self._seed, self._size, self._window)

    def made(self, network: nn.Module, batch: Batch) -> Float[Tensor, "b 2 3 h w"]:
        """Return the windows of the coarse and the dense render of every example over its backdrop."""
        indices, corners, device = batch["index"].tolist(), batch["corner"].tolist(), batch["truth"].device
        windows = [(x, y, x + self._window, y + self._window) for x, y in corners]
        heads, images = zip(*(self._scenes.head(index, device) for index in indices), strict=True)
        heads = [self._scenes.part(*each) for each in zip(heads, indices, windows, strict=True)]
        made = []
        for place, (head, offsets) in enumerate(zip(heads, network(heads, images), strict=True)):
            drawn = torch.stack(
                [
                    self._scenes.draw(gaussians, indices[place], batch["backdrop"][place]).rgb
                    for gaussians in (coarse(head, offsets), dense(head, offsets))
                ]
            )
            x0, y0, x1, y1 = windows[place]
            made.append(drawn[..., y0:y1, x0:x1])
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

    def judge(self, network: nn.Module) -> tuple[dict[str, float], Float[Tensor, "3 h w"] | None]:
        """Return the mean scores without and with the networks, and a sheet: source, without, with, truth."""
        if self._judged is None:
            return {}, None
        self._plain = self._plain or list(score_sources(self._judged, None, self._judges))
        learned = list(score_sources(self._judged, network, self._judges))
        figures = {}
        for way, scored in (("analytic", self._plain), ("learned", learned)):
            names = [name for name in SHOWN if name in scored[0][0]]
            figures |= {f"{way} {name}": float(np.nanmean([row[name] for row, _ in scored])) for name in names}
        rows = [
            SheetRow(plain.label, (plain.images[0], plain.images[1], ours.images[1], plain.images[2]))
            for (_, plain), (_, ours) in zip(self._plain, learned, strict=True)
        ]
        return figures, contact_sheet(rows, ("source", "analytic", "learned", "truth"), CELL)

    def write(self, network: nn.Module, path: Path, step: int) -> None:
        """Write the averaged weights."""
        write_gaussians(path, network, {"steps": str(step), "pairs": str(len(self._scenes.pairs))})


def train_gaussians(
    pairs: str | os.PathLike[str],
    val: str | os.PathLike[str] | None,
    options: LoopOptions,
    *,
    config: str = "embedded",
    switches: Switches | None = None,
    deform: str | os.PathLike[str] | None = None,
    size: int = 512,
    window: int | None = None,
    perceptual: float = HeadLoss.perceptual,
    build: BuildAvatar | None = None,
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
        size: edge in pixels of the pictures that are drawn.
        window: edge in pixels of the part of them that is compared in a step; all of it when None.
        perceptual: weight of the perceptual terms, ``lambda_p``.
        build: makes avatars; as the pipeline does when None.
        on_step: progress.

    Raises:
        InputError: no pairs, or what `train` says.
        WeightsError: the perceptual distance or the deformation cannot be read.
    """
    kept = None if val is None else PairSet(val)
    stage = GaussianStage(
        PairSet(pairs), kept, CONFIGS[config].with_switches(switches or Switches()), seed=options.seed, size=size,
        window=window, loss=HeadLoss(perceptual), deform=None if deform is None else read_deform(deform), build=build,
    )  # fmt: skip
    train(stage, options, on_step=on_step)
