"""The reader: what a plain weighted sum of what the trunk hears says of the mouth, found in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..motion.audio_net import PHASES, MouthNet, MouthNetConfig
from ..progress import OnStep, ignore_steps
from .audio_augment import Augmentation
from .audio_batches import Batch, shares_of
from .audio_data import Speech
from .audio_heard import HeardExamples
from .audio_losses import MEAN_SHARE

READS_AS = 4
"""Nets that the reader counts as: it follows voices that it has not heard as closely as several listeners together."""
RIDGE = 0.003
"""Penalty of its weights; what it hears has the variance 1, and the shares of the voices add up to 1."""


def fit_reader(
    speeches: Sequence[Speech], heard: HeardExamples, net: MouthNetConfig, *, on_step: OnStep = ignore_steps
) -> MouthNet:
    """Return a net of nothing but a reader, which fits the mouths of all examples with the least squares.

    Part of the mean of each example is forgiven, as in the loss of the other nets.
    """
    alone = MouthNet(replace(net, members=0, listeners=0, reader=READS_AS))
    alone.trunk.load_state_dict(heard.trunk.state_dict())
    steps = alone.reader.sums.kernel_size[0]
    squares: Tensor | float = 0.0
    products: Tensor | float = 0.0
    for speech, share in zip(speeches, shares_of(speeches), strict=True):
        x, y = _equations(heard.all_of(speech, net, Augmentation(), on_step), steps)
        if len(x):
            weight = share * speech.trust / len(x)
            squares, products = squares + weight * x.T @ x, products + weight * x.T @ y
    solution = torch.linalg.solve(squares + RIDGE * torch.eye(len(squares), dtype=torch.float64), products).float()
    alone.reader.sums.weight.data.copy_(solution[:-1].T.unflatten(1, (-1, steps)))
    alone.reader.sums.bias.data.copy_(solution[-1])
    return alone.eval().requires_grad_(False)


def _equations(batch: Batch, steps: int) -> tuple[Float[Tensor, "n inputs"], Float[Tensor, "n outputs"]]:
    """Return what is heard around each step with a mouth, and the mouth in its frames."""
    inputs, outputs = [], []
    for sound, targets, known in zip(batch.sound.double(), batch.targets.double(), batch.known, strict=True):
        x = sound.unfold(1, steps, 1).transpose(0, 1).flatten(1)
        x = torch.cat((x, torch.ones(len(x), 1, dtype=x.dtype)), dim=1)
        y = targets[:-1].T.unflatten(0, (-1, PHASES)).flatten(1)  # phase by phase, as frames come out
        seen = known[0].view(-1, PHASES).all(dim=1)
        if seen.any():
            x, y = x[seen], y[seen]
            inputs.append(x - MEAN_SHARE * x.mean(dim=0))
            outputs.append(y - MEAN_SHARE * y.mean(dim=0))
    return (torch.cat(inputs), torch.cat(outputs)) if inputs else (torch.zeros(0, 1), torch.zeros(0, 1))
