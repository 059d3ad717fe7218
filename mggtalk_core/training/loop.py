"""The loop that the training stages share: accelerate, averaged weights, checkpoints, figures and sheets."""

from __future__ import annotations

import copy
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..errors import InputError
from ..progress import OnStep, ignore_steps
from .stage import Batch, LoopOptions, Numbers, Progress, Stage, rate_share

if TYPE_CHECKING:
    from accelerate import Accelerator


class Trainer:
    """Trains one stage; see `train`."""

    def __init__(self, stage: Stage, options: LoopOptions, accelerator: Accelerator) -> None:
        self._stage, self._options, self._accelerator = stage, options, accelerator
        parts = [stage.network] if stage.critic is None else [stage.network, stage.critic]
        optimisers = [_optimiser(part, options.rate) for part in parts]
        ready = accelerator.prepare(*parts, *optimisers)
        self._network, self._optimiser = ready[0], ready[len(parts)]
        self._critic, self._critic_optimiser = (None, None) if stage.critic is None else (ready[1], ready[3])
        self._average = copy.deepcopy(accelerator.unwrap_model(self._network)).eval().requires_grad_(False)
        self._progress = Progress(average=self._average.state_dict())
        accelerator.register_for_checkpointing(self._progress)
        self._board = _board(options.output) if accelerator.is_main_process else None
        if options.resume and (options.output / "checkpoint").is_dir():
            self._load()

    def run(self, on_step: OnStep) -> None:
        """Train to the end and leave the weights in the output folder; stopped by hand, keep what was learned."""
        try:
            self._learn(on_step)
        except KeyboardInterrupt:
            if self._accelerator.num_processes == 1:  # others may be anywhere: they would not meet to save
                self._save()
            raise
        self._save()
        self._judge()

    def _learn(self, on_step: OnStep) -> None:
        options, accelerator = self._options, self._accelerator
        numbers = Numbers(self._progress.step, options.batch, accelerator.process_index, accelerator.num_processes)
        examples = self._stage.examples()
        collate = getattr(examples, "collate", None)  # None: each tensor of an example is stacked
        loader = DataLoader(
            examples, options.batch, sampler=numbers, num_workers=options.workers, collate_fn=collate
        )  # fmt: skip
        before, start = self._progress.seconds, time.perf_counter()
        saved = judged = start
        batches = iter(loader)
        while not self._over():
            figures = self._step({name: value.to(accelerator.device) for name, value in next(batches).items()})
            now = time.perf_counter()
            self._progress.seconds = before + now - start
            self._note("losses", figures, every=20)
            on_step(self._progress.step, options.steps or 0)
            if self._agreed(now - saved > 60.0 * options.checkpoint_minutes):
                self._save()
                saved = time.perf_counter()
            if self._agreed(now - judged > 60.0 * options.judge_minutes):
                self._judge()
                judged = time.perf_counter()

    def _done(self) -> float:
        """Return how much of the training is done, 0..1; 0 where it has no end."""
        options, progress = self._options, self._progress
        by_step = progress.step / options.steps if options.steps else 0.0
        by_time = progress.seconds / (60.0 * options.minutes) if options.minutes else 0.0
        return max(by_step, by_time)

    def _over(self) -> bool:
        return self._agreed(self._done() >= 1.0)

    def _agreed(self, mine: bool) -> bool:
        """Return the main process's answer: clocks differ, and all must save and stop at the same step."""
        if self._accelerator.num_processes == 1:
            return mine
        from accelerate.utils import broadcast

        return bool(broadcast(torch.tensor(float(mine), device=self._accelerator.device)).item())

    def _step(self, batch: Batch) -> dict[str, float]:
        """Take one step of the network, and one of the critic where it learns."""
        step, accelerator = self._progress.step, self._accelerator
        share = rate_share(step, self._done())
        with accelerator.autocast():
            made = self._stage.made(self._network, batch)
            losses = self._stage.losses(made, batch, self._critic, step)
        self._descend(self._network, self._optimiser, sum(losses.values()), share)
        figures = {name: float(value.detach()) for name, value in losses.items()}
        if self._critic is not None:
            with accelerator.autocast():
                loss = self._stage.critic_loss(made.detach(), batch, self._critic, step)
            if loss is not None:
                self._descend(self._critic, self._critic_optimiser, loss, share)
                figures["critic"] = float(loss.detach())
        self._progress.step += 1
        self._follow()
        return figures

    def _descend(self, network: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor, share: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = self._options.rate * share
        optimiser.zero_grad()
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()

    @torch.no_grad()
    def _follow(self) -> None:
        """Bring the averaged weights nearer; early on faster, so that the start is soon forgotten."""
        step = self._progress.step
        keep = min(self._options.average, (1.0 + step) / (20.0 + step))
        weights = self._accelerator.unwrap_model(self._network).state_dict()
        for name, value in self._average.state_dict().items():
            value.lerp_(weights[name].to(value), 1.0 - keep)

    def _save(self) -> None:
        """Write a checkpoint beside the last one, then put it in its place."""
        folder, accelerator = self._options.output, self._accelerator
        part = folder / "checkpoint.part"
        if accelerator.is_main_process:
            shutil.rmtree(part, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(part))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            shutil.rmtree(folder / "checkpoint.old", ignore_errors=True)
            if (folder / "checkpoint").exists():
                (folder / "checkpoint").rename(folder / "checkpoint.old")
            part.rename(folder / "checkpoint")
            shutil.rmtree(folder / "checkpoint.old", ignore_errors=True)
            self._stage.write(self._average, folder / "weights.safetensors", self._progress.step)
        accelerator.wait_for_everyone()

    def _load(self) -> None:
        self._accelerator.load_state(str(self._options.output / "checkpoint"))
        self._average.load_state_dict(self._progress.average)
        self._progress.average = self._average.state_dict()

    def _judge(self) -> None:
        """Judge the averaged weights, and leave figures and a sheet."""
        if not self._accelerator.is_main_process:
            return
        figures, sheet = self._stage.judge(self._average)
        self._note("judged", figures)
        if sheet is not None:
            from ..media.images import write_image

            write_image(self._options.output / f"sheet_{self._progress.step:07d}.png", sheet)
            if self._board is not None:
                self._board.add_image("sheet", sheet, self._progress.step)

    def _note(self, kind: str, figures: dict[str, float], every: int = 1) -> None:
        """Append figures to the log, and to TensorBoard where it is installed."""
        step = self._progress.step
        if not self._accelerator.is_main_process or step % every or not figures:
            return
        row = {"step": step, "minutes": round(self._progress.seconds / 60.0, 2)}
        with (self._options.output / f"{kind}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | {name: round(value, 5) for name, value in figures.items()}) + "\n")
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)


def _optimiser(network: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), rate, betas=(0.9, 0.99), weight_decay=1e-4)


def _board(folder: Path):  # noqa: ANN202
    """Return a writer for TensorBoard, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "board"))


def train(stage: Stage, options: LoopOptions, *, on_step: OnStep = ignore_steps) -> None:
    """Train a stage on one CPU, one GPU or several processes, as accelerate is set up.

    In the output folder: ``checkpoint`` (exact resume: network, average, optimisers, step), ``weights.safetensors``
    (the averaged weights as they ship), ``losses.jsonl``, ``judged.jsonl``, sheets, and ``board`` for TensorBoard.

    Raises:
        InputError: accelerate is missing, or the folder holds another training and ``resume`` is off.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise InputError("Training needs accelerate: pip install accelerate.") from error
    if (options.output / "checkpoint").exists() and not options.resume:
        raise InputError(f"{options.output} holds a training already; give --resume or another folder.")
    options.output.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(mixed_precision=options.precision, cpu=not torch.cuda.is_available())
    Trainer(stage, options, accelerator).run(on_step)
