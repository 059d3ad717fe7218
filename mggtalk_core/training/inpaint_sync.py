"""Training of the mouth's refiner under SyncNet's eyes and ears (paper E.4, Table 6), with the user's own weights.

Five neighbouring frames of one clip go through the network, back into their frames, and through SyncNet, whose
distance to the sound of that fifth of a second is brought down (LSE-D), and to other moments of the clip up (LSE-C).
Prajwal et al. 2020 teach a generator so by a SyncNet that stays as it is; theirs was taught anew on cosines. The
published network tells lips and sound apart by Euclidean distance, so the loss is the contrastive one that it was
itself taught with (Chung & Zisserman 2016), and its distance the one that LSE-D measures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from ..errors import InputError
from ..evaluation.lip_sync import BLANK, square_place
from ..evaluation.syncnet import EDGE, FRAMES, SyncNet, read_syncnet
from ..media.atomic import replacing
from ..progress import OnStep, ignore_steps
from ..render.inpaint.networks import Networks, write_networks
from ..render.inpaint.patches import MOUTH, feather
from .inpaint import InpaintLosses, InpaintStage, begin_with
from .inpaint_data import Example
from .inpaint_runs import PREFIX, RunExamples, SpokenExamples, Survey, as_seen, real_squares, run_example, survey
from .loop import train
from .pairs import PairSet
from .stage import Batch, LoopOptions

WEIGHT = 0.1
"""Weight of the term. At the distances of the paper's Table 6 (6.9 to the sound, 14.6 to others) it is a seventh of the
loss of the network that ships; it could not be tuned, as SyncNet's weights do not come with the package."""
RECORD = "sync.json"
"""What SyncNet says of every clip's real lips, beside the weights."""
_INPUTS = ("composite", "source", "guide")


def pasted(
    frames: Float[Tensor, "n 3 height width"],
    change: Float[Tensor, "n 3 h w"],
    to_patch: Float[Tensor, "n 2 3"],
    share: Float[Tensor, "n"],
) -> Float[Tensor, "n 3 height width"]:
    """Return frames, 0..1, with the change of each mouth's patch put back: `patches.paste`, with gradients.

    What the network over the whole crop changes, and the bounds that a finished frame keeps, are left out.
    """
    (height, width), (rows, columns) = frames.shape[-2:], change.shape[-2:]
    weight = torch.from_numpy(feather(MOUTH)).to(change) * share.view(-1, 1, 1, 1)
    scale = frames.new_tensor([[2.0 / columns], [2.0 / rows]])
    x, y = (torch.arange(count, device=frames.device) + 0.5 for count in (width, height))
    places = torch.stack((*torch.meshgrid(x, y, indexing="xy"), x.new_ones(height, width)))
    grid = torch.einsum("nij,jhw->nhwi", to_patch * scale, places) - 1.0
    laid = functional.grid_sample(change * weight, grid, padding_mode="zeros", align_corners=False)
    return (frames + laid).clamp(0.0, 1.0)


def face_squares(
    frames: Float[Tensor, "n 3 height width"], boxes: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3 224 224"]:
    """Return the square around each face, 0..1: `face_square`, with gradients and without rounding to bytes.

    The centre of each box lies in its frame.
    """
    height, width = frames.shape[-2:]
    squares = []
    for frame, box in zip(frames, boxes.double().cpu().numpy(), strict=True):
        left, top, edge = square_place(box)
        beyond = (-left, left + edge - width, -top, top + edge - height)  # negative: cut off
        square = functional.pad(frame, beyond, value=BLANK / 255.0)
        squares.append(functional.interpolate(square[None], size=(EDGE, EDGE), mode="bilinear", align_corners=False))
    return torch.cat(squares)


def contrast(own: Float[Tensor, "n"], others: Float[Tensor, "m"], margin: float) -> Float[Tensor, ""]:
    """Return the contrastive loss of Chung & Zisserman 2016 over the margin's square.

    Args:
        own: distances of lips to the sound that belongs to them.
        others: distances of lips to other sound, which count up to the margin.
        margin: see `Survey`; with it the loss does not depend on the scale of the network's space.
    """
    apart = functional.relu(margin - others)
    return (own.square().mean() + apart.square().mean()) / (2.0 * margin**2)


class SyncTerm:
    """Distances of lips and sound by a SyncNet that is only asked, never taught."""

    def __init__(self, network: SyncNet, margin: float) -> None:
        self._network, self._margin = network.eval().requires_grad_(False), margin

    def distances(
        self, squares: Float[Tensor, "5 3 224 224"], run: Mapping[str, Tensor]
    ) -> tuple[Float[Tensor, "1"], Float[Tensor, "m"]]:
        """Return how far five faces, 0..1, are from their own sound and from others."""
        network = self._network.to(squares.device)
        with torch.no_grad():
            own, others = network.sound(run["own"]), network.sound(run["others"])
        lips = network.lips(as_seen(squares))
        return functional.pairwise_distance(lips, own), functional.pairwise_distance(lips, others)

    def __call__(self, made: Float[Tensor, "5 3 h w"], run: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Return the loss of what the mouth's network has made of a run (`run_example`)."""
        with torch.autocast(made.device.type, enabled=False):  # distances of half precision have no use
            return contrast(*self.distances(drawn(made.float(), run), run), self._margin)


def drawn(made: Float[Tensor, "5 3 h w"], run: Mapping[str, Tensor]) -> Float[Tensor, "5 3 224 224"]:
    """Return the faces of a run, 0..1, after the mouth's network."""
    frames = pasted(run["frame"], made - run["composite"], run["to_patch"], run["share"])
    return face_squares(frames, run["box"])


class SyncedMouth(InpaintStage):
    """The mouth's refiner as a `Stage`, with a run of five frames in each step besides the ordinary examples."""

    def __init__(
        self,
        pairs: PairSet,
        val: PairSet | None,
        network: SyncNet,
        found: Survey,
        options: LoopOptions,
        *,
        weight: float = WEIGHT,
        losses: InpaintLosses | None = None,
        judge: SyncJudge | None = None,
    ) -> None:
        super().__init__("mouth", pairs, val, seed=options.seed, losses=losses)
        self._found, self._batch, self._weight = found, options.batch, weight
        self._sync, self._judged = SyncTerm(network, found.margin), judge

    def examples(self) -> Dataset[Example]:
        """Return an endless row of examples; with the first of a batch goes a run."""
        runs = RunExamples(self._pairs, self._found, self._seed)
        return SpokenExamples(super().examples(), runs, self._batch)

    def made(self, network: nn.Module, batch: Batch) -> Float[Tensor, "b+5 3 h w"]:
        """Return what the network makes of a batch and, after it, of the run; it is called once: see DDP."""
        return network(*(torch.cat((batch[name], batch[PREFIX + name])) for name in _INPUTS))

    def losses(
        self, made: Float[Tensor, "b+5 3 h w"], batch: Batch, critic: nn.Module | None, step: int
    ) -> dict[str, Tensor]:
        """Return the weighted terms of the loss."""
        terms = super().losses(made[:-FRAMES], batch, critic, step)
        return terms | {"sync": self._weight * self._sync(made[-FRAMES:], run_of(batch))}

    def critic_loss(
        self, made: Float[Tensor, "b+5 3 h w"], batch: Batch, critic: nn.Module, step: int
    ) -> Float[Tensor, ""] | None:
        """Return the discriminator's loss, on the ordinary examples."""
        return super().critic_loss(made[:-FRAMES], batch, critic, step)

    def judge(self, network: nn.Module) -> tuple[dict[str, float], Float[Tensor, "3 h w"] | None]:
        """Return figures of the pairs kept for judging, among them SyncNet's, and a sheet of some of them."""
        figures, sheet = super().judge(network)
        return figures | ({} if self._judged is None else self._judged(network)), sheet

    def write(self, network: nn.Module, path: Path, step: int) -> None:
        """Write the averaged weights, and beside them what SyncNet says of the clips."""
        notes = {"steps": str(step), "pairs": str(len(self._pairs)), "runs": str(len(self._found.runs))}
        write_networks(path, Networks(mouth=network), notes | {"sync_weight": str(self._weight)})
        clips = {clip: asdict(sync) for clip, sync in sorted(self._found.clips.items())}
        with replacing(path.with_name(RECORD)) as temporary:
            told = {"margin": self._found.margin, "runs": len(self._found.runs), "clips": clips}
            temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def run_of(batch: Batch) -> dict[str, Tensor]:
    """Return what a batch holds of a run."""
    return {name.removeprefix(PREFIX): value for name, value in batch.items() if name.startswith(PREFIX)}


class SyncJudge:
    """SyncNet's opinion of people not learned from: learned, analytic and real lips, one run of each clip."""

    def __init__(self, pairs: PairSet, network: SyncNet, found: Survey) -> None:
        chosen: dict[str, tuple[int, int]] = {}
        for place in found.runs:
            chosen.setdefault(pairs.shards[place[0]].info.clip, place)
        self._sync = SyncTerm(network, found.margin)
        self._pairs, self._late = pairs, {place: found.clips[clip].late for clip, place in chosen.items()}

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Return the mean distance to the sound, and how much farther other moments are, of each way.

        It is not LSE-D: that is measured over finished frames on end (`evaluate audio`).
        """
        device = next(network.parameters()).device
        rows: dict[str, list[float]] = {}
        for place, late in self._late.items():
            run = self._pairs.run(*place)
            example = run_example(run, late, np.random.default_rng(0))
            example = {name: value.to(device) for name, value in example.items()}
            learned = drawn(network(*(example[name] for name in _INPUTS)).float(), example)
            plain, real = drawn(example["composite"], example), real_squares(run).to(device)
            for way, squares in (("learned", learned), ("analytic", plain), ("truth", real)):
                own, others = self._sync.distances(squares, example)
                rows.setdefault(f"{way} sync_distance", []).append(float(own))
                rows.setdefault(f"{way} sync_lead", []).append(float(others.mean() - own))
        return {name: sum(values) / len(values) for name, values in rows.items()}


def train_synced_mouth(
    pairs: str | os.PathLike[str],
    val: str | os.PathLike[str] | None,
    syncnet: str | os.PathLike[str],
    options: LoopOptions,
    *,
    weight: float = WEIGHT,
    start: str | os.PathLike[str] | None = None,
    on_step: OnStep = ignore_steps,
) -> None:
    """Train the mouth's refiner on the pairs of a folder, with the user's own SyncNet in the loss; see `train`.

    ``start``: see `train_inpaint`.

    Raises:
        WeightsError: the weights of SyncNet cannot be read.
        InputError: a weight that is not positive, pairs that were prepared without runs, or what `train` says.
    """
    if not weight > 0.0:
        raise InputError(f"A weight of {weight} teaches nothing; give --sync-weight a number above 0.")
    network, learned, kept = read_syncnet(syncnet), PairSet(pairs), None if val is None else PairSet(val)

    def alive(done: int, total: int) -> None:
        on_step(0, options.steps or 0)

    found = survey(learned, network, on_step=alive)
    if not found.runs:
        raise InputError("In no run do the real lips fit their sound; prepare clips of people who are seen to talk.")
    judge = None
    if kept is not None and kept.runs:
        judge = SyncJudge(kept, network, survey(kept, network, on_step=alive))
    stage = SyncedMouth(learned, kept, network, found, options, weight=weight, judge=judge)
    if start is not None:
        begin_with(stage.network, Path(start), "mouth")
    train(stage, options, on_step=on_step)
