"""What the mouth net is asked for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..motion.mouth_shapes import CLOSED, OPENING, OUTPUTS
from .audio_batches import Batch

MEAN_SHARE = 0.7
"""Share of a stretch's mean error that is forgiven: the mood of a face is not in its words."""
OPENING_WEIGHT = 4.0
"""Weight of the opening against each of the shapes."""
CORRELATION_WEIGHT = 1.0
CLOSED_WEIGHT = 0.25
CLOSED_RARITY = 3.0
"""Weight of frames with shut lips against the others: one frame in ten."""
VELOCITY_STEP = 2
"""Frames of the net over which a velocity is taken."""

_OPENING, _CLOSED = OUTPUTS.index(OPENING), OUTPUTS.index(CLOSED)


def mouth_loss(output: Float[Tensor, "batch outputs frames"], batch: Batch, scale: Float[Tensor, "outputs"]) -> Tensor:
    """Return the loss of a batch: shapes and opening, their velocity, the opening's correlation, and shut lips.

    ``scale``: standard deviation of each target, in whose units errors count.
    """
    known = batch.known.float() * batch.trust[:, None, None]
    error = ((output - batch.targets) / scale[:, None])[:, :_CLOSED]
    seen = known[:, :_CLOSED]
    mean = (error * seen).sum(dim=2, keepdim=True) / seen.sum(dim=2, keepdim=True).clamp_min(1e-6)
    drift = error[:, :, VELOCITY_STEP:] - error[:, :, :-VELOCITY_STEP]
    both = seen[:, :, VELOCITY_STEP:] * seen[:, :, :-VELOCITY_STEP]
    regression = _weighed(error - MEAN_SHARE * mean, seen) + _weighed(drift, both)
    follows = correlation_loss(output[:, _OPENING], batch.targets[:, _OPENING], known[:, _OPENING])
    return regression + CORRELATION_WEIGHT * follows + CLOSED_WEIGHT * closed_loss(output, batch)


def _weighed(error: Float[Tensor, "batch kinds frames"], seen: Float[Tensor, "batch kinds frames"]) -> Tensor:
    """Return the mean Huber loss where something is known, the opening (the last kind) above the others."""
    weight = torch.ones(error.shape[1])
    weight[_OPENING] = OPENING_WEIGHT
    return (F.smooth_l1_loss(error * seen, torch.zeros_like(error), reduction="none").mean((0, 2)) * weight).sum() / (
        weight.sum()
    )


def closed_loss(output: Float[Tensor, "batch outputs frames"], batch: Batch) -> Tensor:
    """Return the cross entropy of shut lips where it is known whether they are, or 0."""
    known, shut = batch.known[:, _CLOSED].float(), batch.targets[:, _CLOSED]
    weight = known * (1.0 + (CLOSED_RARITY - 1.0) * shut)
    entropy = F.binary_cross_entropy_with_logits(output[:, _CLOSED], shut, reduction="none")
    return (entropy * weight).sum() / weight.sum().clamp_min(1.0)


def correlation_loss(
    predicted: Float[Tensor, "batch frames"], truth: Float[Tensor, "batch frames"], known: Float[Tensor, "batch frames"]
) -> Tensor:
    """Return one minus Pearson's correlation of each stretch, mean over the batch, weighed by what is known."""
    total = known.sum(dim=1, keepdim=True).clamp_min(1e-6)
    x = (predicted - (predicted * known).sum(1, keepdim=True) / total) * known.sqrt()
    y = (truth - (truth * known).sum(1, keepdim=True) / total) * known.sqrt()
    # A stretch in which nothing moves has no correlation: it counts as 0 without a jump.
    still = 1e-3 * known.shape[1] * float(truth.var() + 1e-8)
    value = (x * y).sum(1) / ((x * x).sum(1) * (y * y).sum(1) + still**2).sqrt()
    trust = known.mean(dim=1)
    return ((1.0 - value) * trust).sum() / trust.sum().clamp_min(1e-6)
