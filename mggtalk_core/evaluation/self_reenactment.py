"""Self-reenactment: the first face of a clip, driven by the clip itself, against the clip (paper 4.2, table 1).

Where no avatar can be made of a clip's first frame (a profile, a title), the clip starts with the first of which
one can, within `SEARCHED` seconds: frame 0 is that one, and ``first`` says which it was.

Names of scores end in the way: nothing for the system under test, ``_analytic`` for the same without its learned
parts (left out where its pictures are the same), ``_copy`` for frame 0 all the time, ``_ghost`` for half of
analytic and half of copy, ``_blurred`` for the analytic frame blurred to the learned one's PSNR in the head.

Frame 0 itself is not scored. PSNR (dB) and SSIM are of the whole frame, the head (under the truth's matte), the
face (hull of the truth's landmarks), and boxes around eyes and mouth. ``lpips_*`` are those of
`perceptual_scores`, ``sharpness_head`` the gradient energy over the truth's, ``seam_*`` in percent (see
`seam_error`), ``identity`` the cosine to the person in the true frame. ``landmark_error`` is in percent of the eye
distance where the head is turned by at most `LARGEST_YAW`; ``still_change`` in levels of 255 where the face does
not move; ``spread_*`` tell how much Gaussians change (see `parameter_variance`); for the rest see `motion_scores`
and `opening_errors`.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..media.video import VideoReader
from ..motion.motion import Motion
from ..motion.timing import take
from ..portrait.landmarker import Face
from ..processes import in_order, in_processes
from ..progress import OnStep, ignore_steps
from .baselines import ghost
from .clips import Sampling, Steps, alive, cropped, to_image, total_frames
from .comparison import LARGEST_YAW, OWN, Blurred, Comparison
from .fid import FeatureStatistics, FidPool, Inception, fid_pool
from .instruments import Avatar, Instruments, pipeline_instruments
from .metrics import Image
from .pictures import Compared, comparison_sheet, sample_indices
from .reports import Sheets, require, write_report
from .scorers import Scorers
from .self_summary import summary, ways_table
from .tables import Row, Table
from .variance import parameter_variance

PICTURES = 50
"""In how many frames of a clip, spread evenly, pictures are scored: finding the truth's matte is slow."""
SEARCHED = 4.0
"""Seconds at the start of a clip in which its first usable face is looked for."""
BLURRED = Blurred("blurred", of="analytic", like=OWN)


@dataclass(frozen=True)
class _Plan:
    """How every clip is measured; it can be sent to other processes."""

    sampling: Sampling
    pictures: int
    instruments: Instruments
    fid: bool


@dataclass(frozen=True)
class _Bench:
    """What every clip is measured with."""

    plan: _Plan
    scorers: Scorers
    pool: FidPool | None


@dataclass(frozen=True)
class _Measured:
    """What came of a clip."""

    row: Row
    sheet: Float[Tensor, "3 height width"] | None
    statistics: dict[str, FeatureStatistics] = field(default_factory=dict)
    """For FID, of the clips of another process."""


def evaluate_self(
    clips: Sequence[str | os.PathLike[str]],
    report: str | os.PathLike[str] | None = None,
    *,
    every: int = 1,
    max_frames: int | None = None,
    pictures: int = PICTURES,
    fid: bool = False,
    instruments: Instruments | None = None,
    jobs: int = 1,
    on_step: OnStep = ignore_steps,
) -> Table:
    """Drive frame 0 of every clip by the clip and compare, beside plainer ways to get the frames; a row per clip.

    For the names of the scores see the head of this file.

    Args:
        clips: files.
        report: JSON file to write, with CSV, Markdown, a table of the ways (``_ways``) and a folder of contact sheets
            beside it; None writes nothing.
        every: score every how many frames. Changes from frame to frame mean little with more than 1.
        max_frames: read at most so many frames of each clip.
        pictures: score pictures in at most so many frames of each clip, spread evenly.
        fid: measure FID too, over all frames of all clips; a second or more for each picture.
        instruments: the system under test; this project's pipeline when None.
        jobs: clips to measure at once, each in a process of its own; 1 works in this one.
        on_step: progress over all clips.

    Raises:
        InputError: nothing is given, or the report cannot be written. A clip that cannot be used has a row that
            says why.
    """
    require(clips, "clip")
    instruments, sampling = instruments or pipeline_instruments(), Sampling(every, max_frames)
    counts = total_frames(clips, sampling)
    steps, sheets = Steps(sum(counts), on_step), Sheets(report)
    steps.alive()
    scorers = instruments.scorers()
    left_out = list(scorers.left_out)
    pool = fid_pool(counts[1], left_out) if fid else None
    settings = {"every": every, "max_frames": max_frames, "pictures": pictures, "largest_yaw": LARGEST_YAW}
    table = Table("Self-reenactment", settings | {"missing": left_out})
    bench = _Bench(_Plan(sampling, pictures, instruments, pool is not None), scorers, pool)
    for clip, measured in zip(clips, _all_measured([Path(clip) for clip in clips], bench, jobs, steps), strict=True):
        table.rows.append(measured.row)
        sheets.add(Path(clip).stem, measured.sheet)
        if pool is not None:
            pool.join(measured.statistics)
    if pool is not None:
        table.settings["fid"] = pool.results(left_out)
    _write(table, report)
    return table


def _write(table: Table, report: str | os.PathLike[str] | None) -> None:
    write_report(table, report, summary(table))
    if report is not None:
        ways_table(table).write(Path(report).with_name(Path(report).stem + "_ways.json"))


def _all_measured(clips: Sequence[Path], bench: _Bench, jobs: int, steps: Steps) -> Iterator[_Measured]:
    """Yield what comes of every clip, in their order."""
    if jobs <= 1:
        yield from (_tried(clip, bench, steps) for clip in clips)
        return
    done = in_processes(partial(_elsewhere, bench.plan), list(enumerate(clips)), jobs, steps.alive)
    yield from in_order(_counted(done, bench.plan.sampling, steps))


def _counted(
    done: Iterable[tuple[tuple[int, Path], _Measured]], sampling: Sampling, steps: Steps
) -> Iterator[tuple[tuple[int, Path], _Measured]]:
    """Pass on what came of clips in other processes, and count their frames."""
    for (number, clip), measured in done:
        steps.one(sum(total_frames([clip], sampling)))
        yield (number, clip), measured


def _elsewhere(plan: _Plan, numbered: tuple[int, Path], on_step: OnStep) -> _Measured:
    """Measure a clip in another process, which has networks of its own."""
    pool = FidPool(Inception()) if plan.fid else None
    measured = _tried(numbered[1], _Bench(plan, plan.instruments.scorers(), pool), Steps(0, on_step))
    return measured if pool is None else replace(measured, statistics=pool.statistics)


def _tried(clip: Path, bench: _Bench, steps: Steps) -> _Measured:
    try:
        return _Measured(*_evaluate_clip(clip, bench, steps))
    except InputError as error:
        return _Measured({"clip": clip.name, "error": str(error)}, None)


def _evaluate_clip(clip: Path, bench: _Bench, steps: Steps) -> tuple[Row, Float[Tensor, "3 height width"]]:
    start = time.perf_counter()
    with VideoReader(clip) as reader:
        avatar, sampling = _first_seen(reader, bench, steps)
        motion = track_clip(reader, avatar, sampling, bench.plan.instruments, steps)
        count = len(motion)
        pictured = sample_indices(count, bench.plan.pictures)
        comparison = Comparison(avatar, bench.plan.instruments, bench.scorers, pictured, BLURRED, steps.alive)
        contest = _Contest(avatar, comparison, sample_indices(count), bench.pool)
        truths = (cropped(frame, avatar.portrait.crop_transform) for frame in sampling.sampled(reader))
        for index, (truth, images) in enumerate(zip(truths, _animations(avatar, motion, steps), strict=True)):
            contest.add(index, truth, *images)
            steps.one()
    row = {"clip": clip.name, "first": sampling.first, "frames": count, "held": len(motion.held)}
    row |= comparison.row(motion)
    row |= parameter_variance(alive(avatar.gaussians(motion), steps.alive))
    row["seconds"] = time.perf_counter() - start
    return row, comparison_sheet(contest.samples, clip.name)


def _first_seen(reader: VideoReader, bench: _Bench, steps: Steps) -> tuple[Avatar, Sampling]:
    """Return an avatar of the first frame that one can be made of, and the clip from there on."""
    problem = InputError("The clip has no frames.")
    looked_at = itertools.islice(bench.plan.sampling.frames(reader), math.ceil(SEARCHED * reader.fps))
    for first, frame in enumerate(looked_at):
        try:
            avatar = bench.plan.instruments.build(to_image(frame), steps.alive)
        except InputError as error:
            problem = error if first == 0 else problem
            steps.one()
            continue
        return avatar, replace(bench.plan.sampling, first=first)
    raise problem


def track_clip(
    reader: VideoReader, avatar: Avatar, sampling: Sampling, instruments: Instruments, steps: Steps
) -> Motion:
    """Return the motion of the face in the portrait's own locked crop, at the frames that are used."""

    def frames() -> Iterator[np.ndarray]:
        for frame in sampling.frames(reader):
            yield frame
            steps.one()

    motion = instruments.track(frames(), reader.fps, avatar.portrait.crop_transform, steps.alive)
    return take(motion, torch.tensor(sampling.used(reader)))


def _animations(avatar: Avatar, motion: Motion, steps: Steps) -> Iterator[tuple[Image, Image | None]]:
    """Yield every frame and, as long as it differs, the same frame without anything learned."""
    plain = avatar.analytic(steps.alive)
    others = None if plain is None else plain.animate(motion)
    for index, driven in enumerate(avatar.animate(motion)):
        other = None if others is None else next(others)
        # What is learned changes every picture a little; where nothing did, the rest need not be made twice.
        if index == 1 and other is not None and torch.equal(driven, other):
            others = other = None
        yield driven, other


class _Contest:
    """Makes the pictures of all ways, frame after frame, and has them scored."""

    def __init__(self, avatar: Avatar, comparison: Comparison, kept: set[int], pool: FidPool | None) -> None:
        self._source, self._comparison, self._kept, self._pool = avatar.portrait.crop, comparison, kept, pool
        self._first: tuple[Image, Face | None] | None = None
        self.samples: list[Compared] = []

    def add(self, index: int, frame: np.ndarray, driven: Image, analytic: Image | None) -> None:
        """Take one frame; ``frame`` is the uint8 crop of the clip's."""
        truth = to_image(frame)
        made = {OWN: driven} if analytic is None else {OWN: driven, "analytic": analytic}
        first, known = (truth, {}) if self._first is None else (self._first[0], {"copy": self._first[1]})
        plain = driven if analytic is None else analytic
        ways = made | {"copy": first, "ghost": ghost(plain, first)}
        face, faces = self._comparison.add(index, frame, ways, known)
        self._first = self._first or (truth, face)
        if index > 0 and self._pool is not None:
            self._pool.add(truth, made)
        if index in self._kept:
            self._keep(index, truth, face, made, faces)

    def _keep(
        self, index: int, truth: Image, face: Face | None, made: dict[str, Image], faces: dict[str, Face | None]
    ) -> None:
        """Keep the pictures in the order in which one looks at them."""
        names = {"analytic": "analytic", OWN: "learned"} if "analytic" in made else {OWN: "driven"}
        pictures = {"source": self._source, **{names[way]: made[way].clone() for way in names}, "truth": truth}
        found = {"source": self._first[1], **{names[way]: faces[way] for way in names}, "truth": face}
        self.samples.append(Compared(index, pictures, found))
