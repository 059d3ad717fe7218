"""Cross-reenactment: portraits driven by clips of other people (paper 4.2, table 1)."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..media.images import read_image
from ..media.video import VideoReader
from ..motion.motion import Motion
from ..motion.timing import take
from ..portrait.landmarker import Face
from ..portrait.portrait import Portrait
from ..progress import OnStep, ignore_steps
from .clips import Sampling, Steps, to_frame, to_image, total_frames
from .instruments import Instruments, pipeline_instruments
from .observe import MOVING_MOUTH_MEAN, Observed, motion_scores, moving_mouth_mean
from .pictures import Sample, sample_indices, sample_sheet
from .reports import Sheets, require, write_report
from .scorers import Scorers, identity_scores
from .tables import Row, Table


@dataclass(frozen=True)
class _Driver:
    """A clip, tracked once for all portraits."""

    name: str
    motion: Motion
    face: Observed
    pictures: dict[int, tuple[Float[Tensor, "3 height width"], Face | None]]
    """The frames kept for the contact sheet."""


def evaluate_cross(
    portraits: Sequence[str | os.PathLike[str]],
    clips: Sequence[str | os.PathLike[str]],
    report: str | os.PathLike[str] | None = None,
    *,
    every: int = 1,
    max_frames: int | None = None,
    instruments: Instruments | None = None,
    on_step: OnStep = ignore_steps,
) -> Table:
    """Drive every portrait by every clip and compare how driver and driven face move; a row per pair.

    There is no true picture, so only motion is compared: see `motion_scores`. ``identity`` is the cosine between the
    person in the portrait and in the driven frames, over those that are on the contact sheet.

    Args:
        portraits: picture files.
        clips: files.
        report: JSON file to write, with CSV, Markdown and a folder of contact sheets beside it; None writes nothing.
        every: drive by every how many frames.
        max_frames: read at most so many frames of each clip.
        instruments: the system under test; this project's pipeline when None.
        on_step: progress over all pairs.

    Raises:
        InputError: nothing is given, or the report cannot be written. A pair that cannot be used has a row that
            says why.
    """
    require(portraits, "portrait")
    require(clips, "clip")
    instruments, sampling = instruments or pipeline_instruments(), Sampling(every, max_frames)
    scorers = instruments.scorers()
    missing = [line for line in scorers.left_out if line.startswith("identity")]
    table = Table("Cross-reenactment", {"every": every, "max_frames": max_frames, "missing": missing})
    tracking, driving = total_frames(clips, sampling)
    steps, sheets = Steps(tracking + driving * len(portraits), on_step), Sheets(report)
    for clip in clips:
        for row, sheet in _evaluate_clip(Path(clip), portraits, sampling, (instruments, scorers), steps):
            table.rows.append(row)
            sheets.add(f"{Path(row.get('portrait', 'none')).stem}_by_{Path(clip).stem}", sheet)
    write_report(table, report, {MOVING_MOUTH_MEAN: vars(moving_mouth_mean(table))})
    return table


def _evaluate_clip(
    clip: Path,
    portraits: Sequence[str | os.PathLike[str]],
    sampling: Sampling,
    means: tuple[Instruments, Scorers],
    steps: Steps,
) -> Iterator[tuple[Row, Float[Tensor, "3 height width"] | None]]:
    """Yield a row and a contact sheet for every portrait."""
    try:
        driver = _track(clip, sampling, means[0], steps)
    except InputError as error:
        yield {"clip": clip.name, "error": str(error)}, None
        return
    for portrait in portraits:
        try:
            yield _evaluate_pair(Path(portrait), driver, *means, steps)
        except InputError as error:
            yield {"portrait": Path(portrait).name, "clip": clip.name, "error": str(error)}, None


def _track(clip: Path, sampling: Sampling, instruments: Instruments, steps: Steps) -> _Driver:
    """Read a clip once: its motion, and what is seen of the face at the frames that are used."""
    with VideoReader(clip) as reader:
        used = sampling.used(reader)
        kept = sample_indices(len(used))
        face, pictures, find = Observed(), {}, instruments.new_tracker()

        def frames() -> Iterator[np.ndarray]:
            for index, frame in enumerate(sampling.frames(reader)):
                if index in used:
                    seen = find(frame)
                    if len(face) in kept:
                        pictures[len(face)] = to_image(frame), seen
                    face.add(seen)
                yield frame
                steps.one()

        motion = instruments.track(frames(), reader.fps, None, steps.alive)
    return _Driver(clip.name, take(motion, torch.tensor(used)), face, pictures)


def _evaluate_pair(
    portrait: Path, driver: _Driver, instruments: Instruments, scorers: Scorers, steps: Steps
) -> tuple[Row, Float[Tensor, "3 height width"]]:
    start = time.perf_counter()
    avatar = instruments.build(read_image(portrait), steps.alive)
    find, face, samples = instruments.new_tracker(), Observed(), []
    for index, driven in enumerate(avatar.animate(driver.motion)):
        seen = find(to_frame(driven))
        face.add(seen)
        if index in driver.pictures:
            picture, driver_face = driver.pictures[index]
            samples.append(Sample(index, picture, driven.clone(), driver_face, seen))
        steps.one()
    row = {"portrait": portrait.name, "clip": driver.name, "frames": len(face), "held": len(driver.motion.held)}
    row |= motion_scores(face, driver.face) | _likeness(avatar.portrait, samples, scorers)
    row["seconds"] = time.perf_counter() - start
    return row, sample_sheet(avatar.portrait.crop, samples, f"{portrait.name} by {driver.name}", compare=False)


def _likeness(portrait: Portrait, samples: list[Sample], scorers: Scorers) -> Row:
    """Return the mean cosine between the portrait and the samples; nothing without the network."""
    if scorers.identity is None:
        return {}
    images = {str(each.index): each.driven for each in samples}
    faces = {str(each.index): each.driven_face for each in samples}
    found = identity_scores(scorers.identity, images, faces, portrait.crop, portrait.landmarks)
    values = [value for value in found.values() if math.isfinite(value)]
    return {"identity": sum(values) / len(values) if values else math.nan}
