"""Self-reenactment: the first frame of a clip, driven by the clip itself, against the clip (paper 4.2, table 1)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
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
from ..progress import OnStep, ignore_steps
from .clips import Sampling, Steps, cropped, inside_frame, to_frame, to_image, total_frames
from .instruments import Avatar, Instruments, pipeline_instruments
from .landmarks import landmark_error, yaw_degrees
from .observe import MOVING_MOUTH_MEAN, Observed, motion_scores, moving_mouth_mean
from .pictures import PictureScores, Sample, sample_indices, sample_sheet
from .regions import face_mask
from .reports import Sheets, require, write_report
from .tables import Row, Table

LARGEST_YAW = 25.0
"""Landmarks are compared where the head is turned by at most this many degrees: beyond it they are guesses."""
PICTURES = 50
"""In how many frames of a clip, spread evenly, pictures are scored: finding the truth's matte is slow."""


def evaluate_self(
    clips: Sequence[str | os.PathLike[str]],
    report: str | os.PathLike[str] | None = None,
    *,
    every: int = 1,
    max_frames: int | None = None,
    pictures: int = PICTURES,
    instruments: Instruments | None = None,
    on_step: OnStep = ignore_steps,
) -> Table:
    """Drive frame 0 of every clip by the clip and compare, beside a copy of frame 0; a row per clip.

    Frame 0 itself is not scored. PSNR in dB and SSIM are given for the whole frame, the head (under the truth's matte)
    and the face (the hull of the truth's landmarks); ``landmark_error`` in percent of the eye distance where the head
    is turned by at most `LARGEST_YAW`; for the rest see `motion_scores`. Scores that end in ``_copy`` are the copy's.

    Args:
        clips: files.
        report: JSON file to write, with CSV, Markdown and a folder of contact sheets beside it; None writes nothing.
        every: score every how many frames.
        max_frames: read at most so many frames of each clip.
        pictures: score PSNR and SSIM in at most so many frames of each clip, spread evenly.
        instruments: the system under test; this project's pipeline when None.
        on_step: progress over all clips.

    Raises:
        InputError: nothing is given, or the report cannot be written. A clip that cannot be used has a row that
            says why.
    """
    require(clips, "clip")
    instruments, sampling = instruments or pipeline_instruments(), Sampling(every, max_frames)
    settings = {"every": every, "max_frames": max_frames, "pictures": pictures, "largest_yaw": LARGEST_YAW}
    table = Table("Self-reenactment", settings)
    steps, sheets = Steps(sum(total_frames(clips, sampling)), on_step), Sheets(report)
    for clip in clips:
        try:
            row, sheet = _evaluate_clip(Path(clip), sampling, pictures, instruments, steps)
        except InputError as error:
            row, sheet = {"clip": Path(clip).name, "error": str(error)}, None
        table.rows.append(row)
        sheets.add(Path(clip).stem, sheet)
    write_report(table, report, summary(table))
    return table


def summary(table: Table) -> Row:
    """Return the figures by which the system is judged, each with its number of clips."""
    names = ("landmark_error", "eye_correlation", "psnr_whole", "psnr_head", "psnr_face")
    means = {MOVING_MOUTH_MEAN: moving_mouth_mean(table), **{name: table.mean(name) for name in names}}
    wins = {
        f"clips better than the copy, {name}": sum(
            row.get(name, 0.0) > row.get(f"{name}_copy", 0.0) for row in table.rows
        )
        for name in ("psnr_whole", "psnr_head", "psnr_face", "ssim_whole", "ssim_head", "ssim_face")
    }
    return {**{name: {"value": mean.value, "n": mean.n} for name, mean in means.items()}, **wins}


def _evaluate_clip(
    clip: Path, sampling: Sampling, pictures: int, instruments: Instruments, steps: Steps
) -> tuple[Row, Float[Tensor, "3 height width"]]:
    start = time.perf_counter()
    with VideoReader(clip) as reader:
        avatar = instruments.build(to_image(next(iter(reader))), steps.alive)
        motion = _track(reader, avatar, sampling, instruments, steps)
        duel = _Duel(avatar, instruments, sample_indices(len(motion)), sample_indices(len(motion), pictures))
        truths = (cropped(frame, avatar.portrait.crop_transform) for frame in sampling.sampled(reader))
        for index, (truth, driven) in enumerate(zip(truths, avatar.animate(motion), strict=True)):
            duel.add(index, truth, driven)
            steps.one()
    row = {"clip": clip.name, "frames": len(motion), "held": len(motion.held), **duel.row(motion)}
    row["seconds"] = time.perf_counter() - start
    return row, sample_sheet(avatar.portrait.crop, duel.samples, clip.name, compare=True)


def _track(reader: VideoReader, avatar: Avatar, sampling: Sampling, instruments: Instruments, steps: Steps) -> Motion:
    """Return the motion of the face in the portrait's own locked crop, at the frames that are used."""

    def frames() -> Iterator[np.ndarray]:
        for frame in sampling.frames(reader):
            yield frame
            steps.one()

    motion = instruments.track(frames(), reader.fps, avatar.portrait.crop_transform, steps.alive)
    return take(motion, torch.tensor(sampling.used(reader)))


class _Duel:
    """Scores the driven frames and the copy of frame 0 side by side."""

    def __init__(self, avatar: Avatar, instruments: Instruments, kept: set[int], pictured: set[int]) -> None:
        self._portrait, self._matte = avatar.portrait, instruments.matte
        self._find_truth, self._find_driven = instruments.new_tracker(), instruments.new_tracker()
        self._truth, self._driven = Observed(), Observed()
        self._scores, self._copy = PictureScores(), PictureScores("_copy")
        source = avatar.portrait.source
        self._inside = inside_frame(source.shape[2], source.shape[1], avatar.portrait.crop_transform)
        self._first: Float[Tensor, "3 512 512"] | None = None
        self._kept, self._pictured = kept, pictured
        self.samples: list[Sample] = []

    def add(self, index: int, truth_frame: np.ndarray, driven: Float[Tensor, "3 512 512"]) -> None:
        """Score one frame; ``truth_frame`` is the uint8 crop of the clip's frame."""
        truth = to_image(truth_frame)
        truth_face, driven_face = self._find_truth(truth_frame), self._find_driven(to_frame(driven))
        self._truth.add(truth_face)
        self._driven.add(driven_face)
        if index == 0:
            self._first = truth
        elif index in self._pictured:
            regions = self._regions(truth_frame, truth_face)
            self._scores.add(driven, truth, regions)
            self._copy.add(self._first, truth, regions)
        if index in self._kept:
            self.samples.append(Sample(index, truth, driven.clone(), truth_face, driven_face))

    def row(self, motion: Motion) -> Row:
        """Return all scores of the clip."""
        truth, driven = self._truth.landmarks, self._driven.landmarks
        frontal = (yaw_degrees(motion.rotation).abs() <= LARGEST_YAW) & self._truth.seen & self._driven.seen
        frontal[0] = False
        return {
            "landmark_frames": int(frontal.sum()),
            "landmark_error": float(landmark_error(driven[frontal], truth[frontal]).mean()),
            "landmark_error_copy": float(landmark_error(truth[0].expand_as(truth[frontal]), truth[frontal]).mean()),
            **motion_scores(self._driven, self._truth),
            **self._scores.means(),
            **self._copy.means(),
        }

    def _regions(self, frame: np.ndarray, face: Face | None) -> dict[str, Float[Tensor, "1 512 512"]]:
        """Return the regions of one frame; what lies beyond the border of the clip's picture is in none of them."""
        regions = {"whole": self._inside}
        if face is not None:
            height, width = frame.shape[:2]
            regions["head"] = self._inside * self._matte(frame, face)
            regions["face"] = self._inside * face_mask(face.landmarks, height, width)
        return regions
