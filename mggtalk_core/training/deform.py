"""``train deform``: the learned deformation, on rendered heads whose true movement is known (paper D.2, eq. 9)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..head.model import load_head_model
from ..motion.deform_net import CONFIGS, DeformConfig, build_deform, places_on_head, write_deform
from ..progress import OnStep, ignore_steps
from .deform_data import deformation_files, read_deformation
from .loop import train
from .stage import Batch, LoopOptions

SAMPLED = 2048
"""Vertices of an example: neighbours say the same."""
MILLIMETRES = 100.0
_NAMES = ("rest", "beta_s", "beta_d", "missing", "weight")


class DeformExamples(Dataset[Batch]):
    """An endless row of examples: the n-th depends on the seed and n alone."""

    def __init__(self, paths: list[Path], seed: int, sampled: int = SAMPLED) -> None:
        self._paths, self._seed, self._sampled = paths, seed, sampled
        self._kept: dict[Path, Batch] = {}

    def __len__(self) -> int:
        """Return a length that no training reaches."""
        return 2**40

    def __getitem__(self, number: int) -> Batch:
        """Return some vertices of the n-th head, and which they are."""
        random = np.random.default_rng((self._seed, number))
        whole = self._read(self._paths[random.integers(len(self._paths))])
        expression = int(random.integers(len(whole["beta_d"])))
        rows = torch.from_numpy(random.choice(len(whole["rest"]), self._sampled, replace=False))
        return {
            "rows": rows,
            "rest": whole["rest"][rows].float(),
            "beta_s": whole["beta_s"].float(),
            "beta_d": whole["beta_d"][expression].float(),
            "missing": whole["missing"][expression, rows].float(),
            "weight": whole["weight"][expression, rows].float(),
        }

    def _read(self, path: Path) -> Batch:
        if path not in self._kept:
            example = read_deformation(path)
            self._kept[path] = {name: getattr(example, name).half() for name in _NAMES}
        return self._kept[path]


class DeformStage:
    """A deformation network as a `Stage`."""

    critic: nn.Module | None = None

    def __init__(
        self, paths: list[Path], val: list[Path], config: DeformConfig, *, seed: int = 0, sampled: int = SAMPLED
    ) -> None:
        torch.manual_seed(seed)
        self.network: nn.Module = build_deform(config)
        self._paths, self._val, self._seed, self._sampled = paths, val, seed, sampled
        self._places = places_on_head(load_head_model())

    def examples(self) -> Dataset[Batch]:
        """Return an endless row of examples."""
        return DeformExamples(self._paths, self._seed, self._sampled)

    def made(self, network: nn.Module, batch: Batch) -> Float[Tensor, "b n 3"]:
        """Return displacements beyond the model."""
        places = self._places.to(batch["rest"].device)[batch["rows"]]
        return network(batch["rest"], places, batch["beta_d"], batch["beta_s"])

    def losses(
        self, made: Float[Tensor, "b n 3"], batch: Batch, critic: nn.Module | None, step: int
    ) -> dict[str, Tensor]:
        """Return the mean distance from what is missing, in mm."""
        return {"millimetres": MILLIMETRES * _mean_miss(made - batch["missing"], batch["weight"])}

    def critic_loss(self, made: Tensor, batch: Batch, critic: nn.Module, step: int) -> Float[Tensor, ""] | None:
        """Return nothing: this stage has no discriminator."""
        return None

    @torch.no_grad()
    def judge(self, network: nn.Module) -> tuple[dict[str, float], None]:
        """Return by how many mm vertices are missed without and with the network, on the heads kept for judging."""
        rows = [self._missed(network, path) for path in self._val]
        if not rows:
            return {}, None
        names = ("millimetres_analytic", "millimetres_learned")
        return {name: float(np.mean([row[place] for row in rows])) for place, name in enumerate(names)}, None

    def _missed(self, network: nn.Module, path: Path) -> tuple[float, float]:
        example = read_deformation(path).to(next(network.parameters()).device)
        count, places = len(example.beta_d), self._places.to(example.rest)
        rest, beta_s = example.rest.expand(count, -1, -1), example.beta_s.expand(count, -1)
        made = network(rest, places, example.beta_d, beta_s)
        misses = (example.missing, made - example.missing)
        plain, learned = (MILLIMETRES * float(_mean_miss(miss, example.weight)) for miss in misses)
        return plain, learned

    def write(self, network: nn.Module, path: Path, step: int) -> None:
        """Write the averaged weights."""
        write_deform(path, network, {"steps": str(step), "heads": str(len(self._paths))})


def _mean_miss(miss: Float[Tensor, "*b n 3"], weight: Float[Tensor, "*b n"]) -> Float[Tensor, ""]:
    # The root's gradient is infinite at zero.
    distance = (miss.float().square().sum(dim=-1) + 1e-10).sqrt()
    return (distance * weight).sum() / weight.sum().clamp(min=1.0)


def train_deform(
    heads: str | os.PathLike[str],
    val: str | os.PathLike[str] | None,
    options: LoopOptions,
    *,
    config: str = "embedded",
    on_step: OnStep = ignore_steps,
) -> None:
    """Train the deformation on the rendered heads of a folder; see `train`.

    ``val`` is a folder of other heads, to judge by; ``config`` is ``embedded`` (residual form) or ``paper`` (eq. 9's
    MLP).

    Raises:
        InputError: no heads, or what `train` says.
    """
    kept = [] if val is None else deformation_files(Path(val))
    stage = DeformStage(deformation_files(Path(heads)), kept, CONFIGS[config], seed=options.seed)
    train(stage, options, on_step=on_step)
