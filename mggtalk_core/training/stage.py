"""What a training stage is to the loop, how it is trained, and what a checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler

from ..errors import InputError

Batch = dict[str, Tensor]
WARM_UP = 100
"""Steps in which the rate rises."""
TAIL = 0.3
"""Last share of a training of known length, in which the rate falls."""
LEAST = 0.02
"""Share of the rate that is left at the end."""


@dataclass(frozen=True)
class LoopOptions:
    """How a stage is trained; it ends after ``steps`` or ``minutes``, whichever comes first, or never."""

    output: Path
    steps: int | None = None
    minutes: float | None = None
    batch: int = 4
    """Examples per step and process."""
    rate: float = 1e-3
    seed: int = 0
    precision: str = "no"
    """``no``, ``bf16`` or ``fp16``."""
    resume: bool = False
    checkpoint_minutes: float = 4.0
    judge_minutes: float = 10.0
    workers: int = 0
    """Processes that make examples; 0 makes them in this one."""
    average: float = 0.999
    """Decay of the averaged weights, which are what is judged and shipped."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        if self.precision not in ("no", "bf16", "fp16"):
            raise InputError(f'Unknown precision "{self.precision}": choose no, bf16 or fp16.')
        if self.batch < 1 or (self.steps is not None and self.steps < 1):
            raise InputError("Steps and examples per step are counted from 1.")


class Stage(Protocol):
    """What is trained."""

    network: nn.Module
    critic: nn.Module | None
    """Discriminator, if there is one."""

    def examples(self) -> Dataset[Batch]:
        """Return an endless row of examples; the n-th depends on n alone.

        If the row has a method ``collate``, it puts a batch together; else each tensor of an example is stacked.
        """
        ...

    def made(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return what the network makes of a batch."""
        ...

    def losses(self, made: Tensor, batch: Batch, critic: nn.Module | None, step: int) -> dict[str, Tensor]:
        """Return the terms of the loss, weighted: their sum is brought down."""
        ...

    def critic_loss(self, made: Tensor, batch: Batch, critic: nn.Module, step: int) -> Tensor | None:
        """Return the discriminator's loss; None while it does not learn yet."""
        ...

    def judge(self, network: nn.Module) -> tuple[dict[str, float], Float[Tensor, "3 h w"] | None]:
        """Return figures on data not trained on, and a sheet to look at."""
        ...

    def write(self, network: nn.Module, path: Path, step: int) -> None:
        """Write the weights in the form in which they ship."""
        ...


class Numbers(Sampler[int]):
    """Numbers of the examples that one of several processes takes, from a step on, without end."""

    def __init__(self, step: int, batch: int, rank: int, processes: int) -> None:
        self._step, self._batch, self._rank, self._processes = step, batch, rank, processes

    def __iter__(self) -> Iterator[int]:
        """Yield a batch of neighbours per step."""
        for step in count(self._step):
            first = (step * self._processes + self._rank) * self._batch
            yield from range(first, first + self._batch)


@dataclass
class Progress:
    """What a checkpoint keeps beside the weights."""

    step: int = 0
    seconds: float = 0.0
    average: dict[str, Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, object]:
        """Return what is kept."""
        return {"step": self.step, "seconds": self.seconds, "average": self.average}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Take up what was kept."""
        self.step, self.seconds, self.average = state["step"], state["seconds"], state["average"]


def rate_share(step: int, done: float) -> float:
    """Return the share of the learning rate at a step: up at first, down at the end; ``done`` is 0..1."""
    fall = max(0.0, (done - (1.0 - TAIL)) / TAIL)
    return min(1.0, (step + 1) / WARM_UP) * (LEAST + (1.0 - LEAST) * 0.5 * (1.0 + math.cos(math.pi * min(fall, 1.0))))
