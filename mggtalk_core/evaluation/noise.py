"""How much the result suffers from errors in the expression: noise is added to it (paper E.6, table 8)."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..errors import InputError
from ..media.video import VideoReader
from ..motion.motion import Motion
from ..progress import OnStep, ignore_steps
from .clips import Sampling, Steps, cropped, to_image, total_frames
from .comparison import LARGEST_YAW, Comparison
from .instruments import Instruments, pipeline_instruments
from .pictures import Compared, comparison_sheet, sample_indices
from .reports import Sheets, require
from .scorers import Scorers
from .self_reenactment import PICTURES, track_clip
from .tables import Row, Table

LEVELS = (0.0, 0.05, 0.1, 0.2)
"""Standard deviations of the noise on the 52 expression coefficients, as in table 8."""
SHOWN = (
    "psnr_whole", "psnr_head", "psnr_face", "lpips_whole", "lpips_head", "lpips_face", "landmark_error", "aed_arkit52",
    "mouth_correlation", "eye_correlation", "identity",
)  # fmt: skip


@dataclass(frozen=True)
class NoiseOptions:
    """What is measured and how."""

    levels: tuple[float, ...] = LEVELS
    every: int = 1
    max_frames: int | None = None
    pictures: int = PICTURES
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no standard deviation."""
        if not self.levels or min(self.levels) < 0.0 or len(set(self.levels)) < len(self.levels):
            raise InputError("The levels of noise must be different numbers of at least 0; give at least one.")


def evaluate_noise(
    clips: Sequence[str | os.PathLike[str]],
    report: str | os.PathLike[str] | None = None,
    options: NoiseOptions | None = None,
    *,
    instruments: Instruments | None = None,
    on_step: OnStep = ignore_steps,
) -> Table:
    """Drive frame 0 of every clip by the clip's motion with noise on the expression; a row per clip and level.

    The scores are those of `evaluate_self`, computed by the same code; level 0 is its plain run. The same draws,
    scaled, serve all levels of a clip. Frame 0 has no noise: it is what all motion is relative to. The paper's FID
    needs thousands of frames and its AED other networks; here are PSNR, LPIPS, the error of the landmarks and
    ``aed_arkit52``.

    Args:
        clips: files.
        report: JSON file to write, with CSV, Markdown, the means per level (``_levels``) and a folder of contact sheets
            beside it; None writes nothing.
        options: see `NoiseOptions`.
        instruments: the system under test; this project's pipeline when None.
        on_step: progress over all clips.

    Raises:
        InputError: nothing is given, or the report cannot be written. A clip that cannot be used has a row that
            says why.
    """
    require(clips, "clip")
    options, instruments = options or NoiseOptions(), instruments or pipeline_instruments()
    sampling = Sampling(options.every, options.max_frames)
    steps, sheets = Steps(sum(total_frames(clips, sampling)), on_step), Sheets(report)
    steps.alive()
    scorers = instruments.scorers()
    settings = {**vars(options), "largest_yaw": LARGEST_YAW, "missing": list(scorers.left_out)}
    table = Table("Noise on the expression", settings, averaged=False)
    for clip in clips:
        try:
            rows, samples = _evaluate_clip(Path(clip), options, instruments, scorers, steps)
            sheets.add(Path(clip).stem, comparison_sheet(samples, Path(clip).name))
        except InputError as error:
            rows = [{"clip": Path(clip).name, "error": str(error)}]
        table.rows += rows
    if report is not None:
        table.write(report)
        levels_table(table).write(Path(report).with_name(Path(report).stem + "_levels.json"))
    return table


def levels_table(table: Table) -> Table:
    """Return the means over the clips, a row per level: the paper's table 8."""
    levels = Table("Noise on the expression, by level", table.settings, averaged=False)
    for level in table.settings["levels"]:
        row: Row = {"noise": level}
        for name in SHOWN:
            mean = table.mean(name, lambda each, level=level: each.get("noise") == level)
            row |= {name: mean.value} if mean.n else {}
        levels.rows.append(row | {"clips": sum(each.get("noise") == level for each in table.rows)})
    return levels


def noisy(motion: Motion, level: float, seed: int) -> Motion:
    """Return a motion with Gaussian noise of standard deviation ``level`` on its expression, but for frame 0."""
    draws = torch.randn(motion.beta.shape, generator=torch.Generator().manual_seed(seed)).to(motion.beta)
    draws[0] = 0.0
    return replace(motion, beta=motion.beta + level * draws)


def _evaluate_clip(
    clip: Path, options: NoiseOptions, instruments: Instruments, scorers: Scorers, steps: Steps
) -> tuple[list[Row], list[Compared]]:
    start, sampling = time.perf_counter(), Sampling(options.every, options.max_frames)
    # Another seed for every clip, the same one wherever its folder lies.
    seed = options.seed + zlib.crc32(clip.name.encode())
    names = {level: f"{level:g}" for level in options.levels}
    with VideoReader(clip) as reader:
        avatar = instruments.build(to_image(next(iter(reader))), steps.alive)
        motion = track_clip(reader, avatar, sampling, instruments, steps)
        count = len(motion)
        comparison = Comparison(
            avatar, instruments, scorers, sample_indices(count, options.pictures), on_step=steps.alive
        )
        kept, samples = sample_indices(count), []
        truths = (cropped(frame, avatar.portrait.crop_transform) for frame in sampling.sampled(reader))
        driven = zip(*(avatar.animate(noisy(motion, level, seed)) for level in options.levels), strict=True)
        for index, (truth, images) in enumerate(zip(truths, driven, strict=True)):
            made = dict(zip(names.values(), images, strict=True))
            face, faces = comparison.add(index, truth, made)
            if index in kept:
                shown = {**{name: image.clone() for name, image in made.items()}, "truth": to_image(truth)}
                samples.append(Compared(index, shown, {**faces, "truth": face}))
            steps.one()
    found = comparison.rows(motion)
    seconds = time.perf_counter() - start
    rows = [{"clip": clip.name, "noise": level, "frames": count, **found[name]} for level, name in names.items()]
    return [row | {"seconds": seconds} for row in rows], samples
