"""``train inpaint``: the inpainter over the whole crop, and the refiners of eyes and mouth (paper D.5)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..errors import InputError
from ..evaluation.perceptual import Lpips
from ..progress import OnStep, ignore_steps
from ..render.inpaint.networks import CONFIGS, PARTS, Networks, build, write_networks
from .inpaint_data import CROP, Example, Examples
from .inpaint_judge import PatchJudge, WholeJudge
from .inpaint_pack import part_of
from .loop import train
from .losses import PatchDiscriminator, discriminator_loss, edge_loss, generator_loss, weighted_l1
from .pairs import PairSet
from .stage import Batch, LoopOptions


@dataclass(frozen=True)
class InpaintLosses:
    """How the terms of the loss weigh."""

    difference: float = 1.0
    edges: float = 0.5
    perceptual: float = 0.4
    adversarial: float = 0.01
    adversarial_from: int = 6000
    """Step at which the discriminator begins to learn; it is heard 1000 steps later, in full after 1000 more."""


WEIGHTS = {
    "whole": InpaintLosses(),
    "eyes": InpaintLosses(edges=1.0, perceptual=0.1, adversarial=0.005),
    "mouth": InpaintLosses(edges=1.0, perceptual=0.15, adversarial=0.01),
}
_WARM_UP = 1000
_PICTURES = {"whole": ("composite", "alpha", "layer", "source", "guide", "corner"), "eyes": ("composite", "source",
             "guide"), "mouth": ("composite", "source", "guide")}  # fmt: skip


class InpaintStage:
    """One part of the inpainter as a `Stage`."""

    def __init__(
        self,
        part: str,
        pairs: PairSet,
        val: PairSet | None,
        *,
        seed: int = 0,
        config: str | None = None,
        losses: InpaintLosses | None = None,
        crop: int = CROP,
    ) -> None:
        torch.manual_seed(seed)
        self.part, self._pairs, self._seed, self._crop = part, pairs, seed, crop
        network = build(part, CONFIGS[config or part])
        self.network: nn.Module = network.to(memory_format=torch.channels_last)
        self._losses = losses or WEIGHTS[part]
        self.critic: nn.Module | None = PatchDiscriminator() if self._losses.adversarial > 0.0 else None
        self._lpips = Lpips() if self._losses.perceptual > 0.0 else None
        self._judge = None if val is None else WholeJudge(val) if part == "whole" else PatchJudge(val, part)

    def examples(self) -> Dataset[Example]:
        """Return an endless row of examples."""
        return Examples(self._pairs, self.part, self._seed, self._crop)

    def made(self, network: nn.Module, batch: Batch) -> Float[Tensor, "b 3 h w"]:
        """Return what the network makes of a batch."""
        return network(*(batch[name] for name in _PICTURES[self.part]))

    def losses(
        self, made: Float[Tensor, "b 3 h w"], batch: Batch, critic: nn.Module | None, step: int
    ) -> dict[str, Tensor]:
        """Return the weighted terms of the loss."""
        weights, truth, weight = self._losses, batch["truth"], batch["weight"]
        terms = {
            "difference": weights.difference * weighted_l1(made, truth, weight),
            "edges": weights.edges * edge_loss(made, truth, weight),
        }
        if self._lpips is not None:
            terms["perceptual"] = weights.perceptual * self._lpips.to(made.device)(made, truth, weight).mean()
        share = self._adversarial_share(step)
        if critic is not None and share > 0.0:
            terms["adversarial"] = share * generator_loss(critic(made, batch["composite"]), weight)
        return terms

    def _adversarial_share(self, step: int) -> float:
        weights = self._losses
        grown = (step - weights.adversarial_from - _WARM_UP) / _WARM_UP
        return weights.adversarial * min(max(grown, 0.0), 1.0)

    def critic_loss(
        self, made: Float[Tensor, "b 3 h w"], batch: Batch, critic: nn.Module, step: int
    ) -> Float[Tensor, ""] | None:
        """Return the discriminator's loss: real and made pictures go through it together."""
        if step < self._losses.adversarial_from:
            return None
        pictures = torch.cat((batch["truth"], made))
        real, unreal = critic(pictures, batch["composite"].repeat(2, 1, 1, 1)).chunk(2)
        return discriminator_loss(real, unreal, batch["weight"])

    def judge(self, network: nn.Module) -> tuple[dict[str, float], Float[Tensor, "3 h w"] | None]:
        """Return figures of the pairs kept for judging, and a sheet of some of them."""
        return ({}, None) if self._judge is None else self._judge(network)

    def write(self, network: nn.Module, path: Path, step: int) -> None:
        """Write the averaged weights of this part."""
        write_networks(path, Networks(**{self.part: network}), {"steps": str(step), "pairs": str(len(self._pairs))})


def train_inpaint(
    pairs: str | os.PathLike[str],
    val: str | os.PathLike[str] | None,
    part: str,
    options: LoopOptions,
    *,
    config: str | None = None,
    crop: int = CROP,
    start: str | os.PathLike[str] | None = None,
    critic_from: int | None = None,
    on_step: OnStep = ignore_steps,
) -> None:
    """Train one part (``whole``, ``eyes`` or ``mouth``) on the pairs of a folder; see `train`.

    ``config`` is ``paper`` for the large network over the whole crop; ``crop`` is the edge in pixels of the parts that
    the whole is learned from; ``start`` is a file of weights to begin with, such as the one that ships; for
    ``critic_from`` see `InpaintLosses.adversarial_from`.

    Raises:
        InputError: an unknown part, no pairs, a start without that part or of other sizes, or what `train` says.
        WeightsError: the start cannot be read.
    """
    if part not in PARTS:
        raise InputError(f'Unknown part "{part}": choose {", ".join(PARTS)}.')
    kept = None if val is None else PairSet(val)
    losses = WEIGHTS[part] if critic_from is None else replace(WEIGHTS[part], adversarial_from=critic_from)
    stage = InpaintStage(part, PairSet(pairs), kept, seed=options.seed, config=config, losses=losses, crop=crop)
    if start is not None:
        begin_with(stage.network, Path(start), part)
    train(stage, options, on_step=on_step)


def begin_with(network: nn.Module, path: Path, part: str) -> None:
    """Give a network of one part the weights from a file; raises InputError where they are of another size."""
    known = part_of(path, part)
    if known.config != network.config:
        raise InputError(f"{path} holds a network of other sizes; begin without it, or give another configuration.")
    network.load_state_dict(known.state_dict())
