"""Training of the mouth net: batches in, weights out, with checkpoints to go on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..media.atomic import replacing
from ..motion.audio_net import PHASES, MouthNet, MouthNetConfig, run_net
from ..motion.mel import normalised
from ..motion.mouth_shapes import CLOSED, OUTPUTS
from ..progress import OnStep, ignore_steps
from .audio_augment import Augmentation
from .audio_batches import Batch, draw_batch
from .audio_data import Speech
from .audio_heard import HeardExamples
from .audio_losses import mouth_loss


@dataclass(frozen=True)
class AudioTraining:
    """Everything that decides what comes out, besides the data."""

    steps: int = 330
    seed: int = 0
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    dropout: float = 0.3
    batch: tuple[int, int, int] = (14, 3, 2)
    """Examples of clips, of captured and of synthetic speech in a batch."""
    checkpoint_every: int = 100
    net: MouthNetConfig = MouthNetConfig(outputs=OUTPUTS)
    augmentation: Augmentation = Augmentation()


@dataclass(frozen=True)
class Material:
    """What is learned from, by kind."""

    clips: Sequence[Speech]
    captured: Sequence[Speech] = ()
    synthetic: Sequence[Speech] = ()
    heard: HeardExamples | None = None
    """What nets that listen through the trunk learn from."""

    @property
    def kinds(self) -> tuple[Sequence[Speech], Sequence[Speech], Sequence[Speech]]:
        """In the order of `AudioTraining.batch`."""
        return self.clips, self.captured, self.synthetic


def train_net(
    material: Material,
    training: AudioTraining,
    *,
    checkpoint: Path | None = None,
    log: list[dict[str, float]] | None = None,
    on_step: OnStep = ignore_steps,
) -> MouthNet:
    """Return a trained net whose outputs are in the units of the targets.

    Deterministic: the same material and settings give the same weights, also when it goes on from a ``checkpoint``.

    Args:
        material: what to learn from.
        training: settings.
        checkpoint: file that the state is written to now and then, and read from if it is there.
        log: gets one entry every 50 steps.
        on_step: called after every step.
    """
    torch.manual_seed(training.seed)
    scale = target_scale(material.clips)
    net = MouthNet(training.net, training.dropout)
    if net.trunk is not None:
        net.trunk.load_state_dict(material.heard.trunk.state_dict())
        net.trunk.requires_grad_(False)
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=training.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.learning_rate, training.steps, pct_start=0.2)
    state = {"net": net, "optimiser": optimiser, "schedule": schedule}
    done = _resume(checkpoint, state, training)
    losses: list[float] = []
    for step in range(done, training.steps):
        rng = np.random.default_rng([training.seed, step])
        torch.manual_seed(training.seed * 1_000_003 + step)  # dropout
        batch = _mixed_batch(material, training, rng)
        said = net(batch.sound) if net.trunk is None else net.listeners[0](batch.sound)
        loss = mouth_loss(said * scale[None, :, None], batch, scale)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if log is not None and (step + 1) % 50 == 0:
            log.append({"step": step + 1, "loss": sum(losses) / len(losses)})
            losses.clear()
        if checkpoint is not None and (step + 1) % training.checkpoint_every == 0:
            _save(checkpoint, state, training, step + 1)
        on_step(step + 1, training.steps)
    return _in_target_units(net, scale)


def predict(net: MouthNet, speech: Speech) -> Float[np.ndarray, "frames outputs"]:
    """Return what a net says to a piece of speech, at `NET_RATE`."""
    return run_net(net, normalised(speech.mel, speech.level))


def target_scale(clips: Sequence[Speech]) -> Float[Tensor, "outputs"]:
    """Return the standard deviation of each target over all clips; 1 for the log-odds."""
    scale = torch.from_numpy(np.concatenate([speech.values for speech in clips]).std(axis=0)).float() + 0.01
    scale[OUTPUTS.index(CLOSED)] = 1.0
    return scale


def _mixed_batch(material: Material, training: AudioTraining, rng: np.random.Generator) -> Batch:
    draw = material.heard.draw if training.net.listeners else draw_batch
    parts = [
        draw(kind, size, training.net, training.augmentation, rng)
        for kind, size in zip(material.kinds, training.batch, strict=True)
        if kind and size
    ]
    return Batch(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Batch)))


def _in_target_units(net: MouthNet, scale: Float[Tensor, "outputs"]) -> MouthNet:
    """Multiply the scale of the targets into the last layer."""
    twice = scale.repeat(PHASES)
    with torch.no_grad():
        for member in (*net.members, *net.listeners):
            member.head.weight *= twice[:, None, None]
            member.head.bias *= twice
    return net.eval().requires_grad_(False)


def _save(path: Path, state: dict[str, Any], training: AudioTraining, done: int) -> None:
    """Write everything that is needed to go on; the random numbers follow from the step."""
    with replacing(path) as temporary:
        torch.save(
            {name: part.state_dict() for name, part in state.items()} | {"done": done, "training": repr(training)},
            temporary,
        )


def _resume(path: Path | None, state: dict[str, Any], training: AudioTraining) -> int:
    """Load a checkpoint of the very same training and return its step; 0 where there is none."""
    if path is None or not path.is_file():
        return 0
    saved = torch.load(path, weights_only=True)
    if saved["training"] != repr(training):
        return 0
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return int(saved["done"])
