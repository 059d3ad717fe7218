"""Runs of frames that SyncNet judges while the mouth's network learns: which of them, and what is seen and heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, default_collate

from ..errors import InputError
from ..evaluation.lip_sync import REACH, Listener, face_square
from ..evaluation.syncnet import FRAMES, STEPS
from ..progress import OnStep, ignore_steps
from ..render.inpaint.patches import MOUTH, share_of
from .inpaint_data import Example, cut_pair, driven_guide
from .pairs import Pair, PairSet, SpokenRun
from .prepare_runs import AROUND, PER_FRAME

OTHERS = 4
"""Other moments of the same clip that a run is held against."""
PREFIX = "run_"
"""Begins the names of what a batch holds of a run."""
LEAST_SHARE = 0.5
"""Mean share in which the mouth's refinement must count in a run: below, the network is hardly seen there."""


@dataclass(frozen=True)
class ClipSync:
    """What SyncNet says of a clip's real lips, over all runs."""

    late: int
    """Frames, at 25 a second, by which the sound comes after the lips."""
    distance: float
    """Mean distance of lips and sound there."""
    confidence: float
    """By how much that is less than the median over all offsets."""
    runs: int
    """How many runs were measured."""


@dataclass(frozen=True)
class Survey:
    """Which runs of a set of pairs can be learned from, and where their sound is."""

    clips: dict[str, ClipSync]
    runs: tuple[tuple[int, int], ...]
    """As `PairSet.runs` counts, of those that can be learned from."""
    margin: float
    """Distance from which real lips and a sound count as not belonging together."""


NO_RUNS = "There are no runs of frames with sound; make the pairs anew with train prepare --runs 4."


def pieces_of(sound: Float[Tensor, "13 columns"]) -> Float[Tensor, "n 1 13 20"]:
    """Return every fifth of a second of the sound around a run, 25 of them a second; the run's own is `AROUND`."""
    return sound.unfold(1, STEPS, PER_FRAME).transpose(0, 1)[:, None]


def heard(pieces: Float[Tensor, "n 1 13 20"]) -> Bool[Tensor, "n"]:
    """Return which pieces lie within the clip."""
    return ~pieces.flatten(1).isnan().any(dim=1)


def others(known: Bool[Tensor, "n"], own: int) -> list[int]:
    """Return the pieces that share no sound with a run's ``own``."""
    return [place for place in known.nonzero()[:, 0].tolist() if abs(place - own) >= FRAMES]


@dataclass(frozen=True)
class _Measured:
    """One run, as SyncNet sees and hears the real clip there."""

    distances: Float[Tensor, "31"]
    """Of the lips to the sound at every offset; NaN where the clip has none."""
    known: Bool[Tensor, "n"]
    """Which pieces of the sound around lie within the clip."""
    shown: bool
    """Whether the face lies in the crop, and the mouth's refinement counts there."""

    def teaches(self, late: int) -> bool:
        """Return whether the run can be learned from, if its sound comes ``late`` frames late."""
        in_step = bool(self.distances[late + REACH] < self.distances.nanmedian())
        return self.shown and in_step and bool(others(self.known, AROUND + late))


@torch.no_grad()
def survey(pairs: PairSet, network: Listener, *, on_step: OnStep = ignore_steps) -> Survey:
    """Let SyncNet tell, from the real frames, by how much the sound of each clip is late, and which runs are in step.

    What is driven to a clip's frames can only be asked to fit its sound where the real lips do: the sound is moved to
    where they fit best over all runs of the clip (Chung & Zisserman 2016), and a run is left out in which they
    are no nearer to it than to the sound at half of the other offsets, or in which the refined mouth is hardly seen.
    The margin does not come with the published weights: it is the mean over the clips of the median distance over all
    offsets, as what is that far apart is not in step. There may be no run that can be learned from.

    Raises:
        InputError: no run was prepared.
    """
    places, measured = pairs.runs, {}
    if not places:
        raise InputError(NO_RUNS)
    for done, place in enumerate(places):
        on_step(done, len(places))
        measured[place] = _measured(pairs.run(*place), network)
    by_clip: dict[str, list[tuple[int, int]]] = {}
    for place in places:
        by_clip.setdefault(pairs.shards[place[0]].info.clip, []).append(place)
    clips = {
        clip: _clip_sync(torch.stack([measured[place].distances for place in each])) for clip, each in by_clip.items()
    }
    kept = [place for clip, each in by_clip.items() for place in each if measured[place].teaches(clips[clip].late)]
    margin = float(np.mean([sync.distance + sync.confidence for sync in clips.values()]))
    return Survey(clips, tuple(sorted(kept)), margin)


def _measured(run: SpokenRun, network: Listener) -> _Measured:
    known = heard(pieces_of(run.sound))
    near = slice(AROUND - REACH, AROUND + REACH + 1)
    pieces, there = pieces_of(run.sound)[near], known[near]
    device = next((each.device for each in getattr(network, "parameters", list)()), torch.device("cpu"))
    distances = torch.full((len(pieces),), torch.nan)
    lips = network.lips(as_seen(real_squares(run)).to(device))
    distances[there] = functional.pairwise_distance(lips, network.sound(pieces[there].to(device))).cpu()
    edge = run.pairs[0].truth.shape[-1]
    inside = bool(((run.boxes[:, :2] > 0.0) & (run.boxes[:, :2] < edge)).all())
    share = float(np.mean([float(_frame_example(pair)["share"]) for pair in run.pairs]))
    return _Measured(distances, known, inside and share >= LEAST_SHARE)


def _clip_sync(rows: Float[Tensor, "runs 31"]) -> ClipSync:
    means, counts = rows.nanmean(dim=0), (~rows.isnan()).sum(dim=0)
    means[counts * 2 < counts.max()] = torch.nan  # heard in a few runs alone: no mean to compare with
    best = int(means.nan_to_num(torch.inf).argmin())
    least, median = float(means[best]), float(means.nanmedian())
    return ClipSync(best - REACH, least, median - least, len(rows))


def real_squares(run: SpokenRun) -> Float[Tensor, "5 3 224 224"]:
    """Return the faces of a run's real frames, 0..1."""
    frames = [pair.truth.permute(1, 2, 0).contiguous().numpy() for pair in run.pairs]
    squares = [face_square(frame, box.double().numpy()) for frame, box in zip(frames, run.boxes, strict=True)]
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255.0


def as_seen(squares: Float[Tensor, "5 3 224 224"]) -> Float[Tensor, "1 3 5 224 224"]:
    """Return five faces, 0..1, as SyncNet sees them: 0..255, blue first."""
    return 255.0 * squares.flip(1).transpose(0, 1)[None]


def run_example(run: SpokenRun, late: int, random: np.random.Generator) -> Example:
    """Return what is learned from a run of a `Survey`, whose sound comes ``late`` frames late.

    Besides the inputs of `PatchRefiner`, of which there are five, it holds the analytic frames, where in them the
    patches lie and how much they count, the face's boxes, the run's own piece of sound and `OTHERS` others.
    """
    pieces, own = pieces_of(run.sound), AROUND + late
    elsewhere = others(heard(pieces), own)
    chosen = random.choice(elsewhere, OTHERS, replace=len(elsewhere) < OTHERS)
    frames = [_frame_example(pair) for pair in run.pairs]
    example = {name: torch.stack([frame[name] for frame in frames]) for name in frames[0]}
    return example | {"box": run.boxes, "own": pieces[own][None], "others": pieces[torch.from_numpy(chosen)]}


def _frame_example(pair: Pair) -> Example:
    guide, head = driven_guide(pair)
    patch, source, frame = cut_pair(pair, MOUTH, guide, head)
    return {
        "composite": patch.composite, "source": patch.source, "guide": patch.guide,
        "share": torch.tensor(share_of(MOUTH, head, patch.to_patch, source), dtype=torch.float32),
        "to_patch": torch.from_numpy(patch.to_patch).float(), "frame": torch.from_numpy(frame).permute(2, 0, 1),
    }  # fmt: skip


class RunExamples:
    """An endless row of runs: the n-th depends on the seed and n alone. People are drawn evenly, then their runs."""

    def __init__(self, pairs: PairSet, found: Survey, seed: int) -> None:
        self._pairs, self._clips, self._seed = pairs, found.clips, seed
        people: dict[str, list[tuple[int, int]]] = {}
        for place in found.runs:
            people.setdefault(pairs.shards[place[0]].info.identity, []).append(place)
        self._people = [people[name] for name in sorted(people)]

    def __getitem__(self, number: int) -> Example:
        """Return the n-th example."""
        random = np.random.default_rng((self._seed, 2, number))
        person = self._people[random.integers(len(self._people))]
        run = self._pairs.run(*person[random.integers(len(person))])
        return run_example(run, self._clips[run.pairs[0].clip].late, random)


class SpokenExamples(Dataset[Example]):
    """The examples of a training, the first of every batch together with a run."""

    def __init__(self, examples: Dataset[Example], runs: RunExamples, batch: int) -> None:
        self._examples, self._runs, self._batch = examples, runs, batch

    def __len__(self) -> int:
        """Return a length that no training reaches."""
        return len(self._examples)

    def __getitem__(self, number: int) -> tuple[Example, Example | None]:
        """Return the n-th example, and a run with the first of a batch."""
        first = number % self._batch == 0
        return self._examples[number], self._runs[number // self._batch] if first else None

    def collate(self, items: Sequence[tuple[Example, Example | None]]) -> Example:
        """Return a batch: examples stacked, and beside them the run, its five frames stacked."""
        (run,) = (run for _, run in items if run is not None)
        return default_collate([example for example, _ in items]) | {PREFIX + name: run[name] for name in run}
