"""Sound drives the head: how speech moves the mouth, against the speaker's own (paper 4.3, tables 2 and 7)."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from ..errors import InputError
from ..media.audio import read_sound
from ..media.sound import Sound
from ..media.video import VideoReader
from ..progress import OnStep, ignore_steps
from .audio_curves import DRIVERS, Curve, Driver, energy_curve, phoneme_curve
from .audio_heard import Heard
from .audio_pictures import POSES, Looked, rendered_scores
from .audio_scores import (
    CLOSED,
    best_lag,
    closure_scores,
    correlation,
    estimated_offset,
    quiet_frames,
    settled,
    silence_scores,
    spoken_scores,
    true_closures,
    unspoken_frames,
)
from .audio_summary import shuffle_scores, summary
from .audio_transcripts import BILABIALS, OPEN_VOWELS, SpokenSound, align, grid_sentence, transcript
from .clips import Sampling, Steps, total_frames
from .fid import fid_pool
from .instruments import Instruments, pipeline_instruments
from .landmarks import mouth_opening
from .observe import Observed
from .reports import Sheets, require, write_report
from .syncnet import read_syncnet
from .tables import Row, Table

RENDERED = 50
"""Frames of a clip, spread evenly, that are rendered and tracked."""
NO_SYNCNET = "LSE-C and LSE-D: SyncNet's weights are not part of this project; give yours with --syncnet"
"""Why the paper's tables have what these have not; nothing stands in for it."""
NO_FID = "FID: not asked for; --fid measures it over 2,048 frames or more"
LARGEST_OFFSET = 0.4
"""Seconds: a list that says more is not believed."""


@dataclass(frozen=True)
class AudioOptions:
    """What is measured and how."""

    pose: str = "fixed"
    """``fixed``: the head keeps the pose of the first frame (table 7). ``driven``: it has the clip's own (table 2)."""
    rendered: int = RENDERED
    """In how many frames of a clip the rendered face is tracked and compared; 0 renders nothing."""
    syncnet: Path | None = None
    """The user's own weights of SyncNet, which judge the first ``rendered`` frames on end instead of spread ones."""
    fid: bool = False
    """Whether FID is measured too, pooled over the rendered frames of all clips; a second or more for each picture."""
    max_frames: int | None = None
    seed: int = 0
    offsets: Mapping[str, float] = field(default_factory=dict)
    """Seconds by which the sound of a clip comes late, by file name, where it is known."""
    drivers: Mapping[str, Driver] = field(default_factory=lambda: DRIVERS)
    """What moves the mouth, by the ending of its columns; the one under test has none."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if self.pose not in POSES:
            raise InputError(f"Unknown pose {self.pose!r}; choose one of {', '.join(POSES)}.")
        if self.rendered < 0:
            raise InputError("The number of rendered frames is negative; give 0 or more.")
        if self.syncnet is not None and not self.rendered:
            raise InputError("SyncNet looks at rendered frames, and none are wanted; render 250 or more.")


def evaluate_audio(
    clips: Sequence[str | os.PathLike[str]],
    report: str | os.PathLike[str] | None = None,
    options: AudioOptions | None = None,
    *,
    instruments: Instruments | None = None,
    on_step: OnStep = ignore_steps,
) -> Table:
    """Let the sound of every clip move a mouth and compare it with the speaker's own; a row per clip.

    Before anything is scored the sound is moved to where the list says that it belongs (``offset_from`` list), or to
    where energy and recognised phonemes, neither of them the system under test, fit the lips best, far away only where
    they fit much better (estimated). ``correlation`` and ``lag`` (frames, + late) compare the opening of the driving
    curve with the gap between the real inner lips over the eye distance; ``rendered_correlation`` and ``rendered_lag``
    the opening tracked in rendered frames; ``lmd`` is in percent of the eye distance. Bilabials and open vowels come
    from a transcript where there is one, closures from the real lips. Columns that end in ``_energy``, ``_phonemes``
    and ``_constant`` are the baselines', ``_copy`` is the first frame's, ``_truth`` the real mouth's own. ``lse_c`` and
    ``lse_d`` are there where SyncNet's weights are given; see `SyncWatch`. FID, where it is wanted and the frames are
    enough, is in the settings.

    Args:
        clips: files with sound.
        report: JSON file to write, with CSV, Markdown and a folder of contact sheets beside it; None writes nothing.
        options: see `AudioOptions`.
        instruments: the system that renders; this project's pipeline when None.
        on_step: progress over all clips.

    Raises:
        InputError: nothing is given, or the report cannot be written. A clip that cannot be used has a row that
            says why.
        WeightsError: the weights of SyncNet are wanted and cannot be read.
    """
    require(clips, "clip")
    options, instruments = options or AudioOptions(), instruments or pipeline_instruments()
    settings = {"pose": options.pose, "rendered": options.rendered, "seed": options.seed, "closed": CLOSED}
    missing: list[str] = []
    looked = _looked(clips, options, missing)
    settings |= {"max_frames": options.max_frames, "on_end": looked.syncnet is not None, "missing": missing}
    table = Table("Sound drives the head", settings)
    steps, sheets = Steps(total_frames(clips, Sampling(max_frames=options.max_frames))[0], on_step), Sheets(report)
    curves: dict[int, tuple[Curve, Heard]] = {}
    for clip in map(Path, clips):
        try:
            row, sheet, curve = _evaluate_clip(clip, options, looked, instruments, steps)
            curves[len(table.rows)] = curve
        except InputError as error:
            row, sheet = {"clip": clip.name, "error": str(error)}, None
        table.rows.append(row)
        sheets.add(clip.stem, sheet)
    for index, (curve, heard) in curves.items():
        others = [(other, clip.fps) for place, (other, clip) in curves.items() if place != index]
        table.rows[index] |= shuffle_scores(curve, heard.truth, heard.fps, others, options.seed)
    if looked.pool is not None:
        table.settings["fid"] = looked.pool.results(missing)
    write_report(table, report, summary(table))
    return table


def _looked(clips: Sequence[str | os.PathLike[str]], options: AudioOptions, missing: list[str]) -> Looked:
    """Return who looks at the frames that are rendered; what cannot be had is a line in ``missing``."""
    if options.syncnet is None:
        missing.append(NO_SYNCNET)
    syncnet = None if options.syncnet is None else read_syncnet(options.syncnet)
    looked = Looked(options.pose, options.rendered, options.seed, syncnet)
    if not options.fid:
        missing.append(NO_FID)
        return looked
    sampling = Sampling(max_frames=options.max_frames)
    # The first frame of a clip is the portrait itself and does not count.
    scored = (len(looked.frames(total_frames([clip], sampling)[0])[1:]) for clip in clips)
    return replace(looked, pool=fid_pool(sum(scored), missing))


def _evaluate_clip(
    clip: Path, options: AudioOptions, looked: Looked, instruments: Instruments, steps: Steps
) -> tuple[Row, Float[torch.Tensor, "3 height width"] | None, tuple[Curve, Heard]]:
    start = time.perf_counter()
    heard, row = _hear(clip, options, instruments, steps)
    curves = {ending: driver(heard.sound, heard.fps, options.seed) for ending, driver in options.drivers.items()}
    curves = {ending: curve for ending, curve in curves.items() if curve is not None}
    for ending, curve in curves.items():
        row |= {name + ending: value for name, value in _curve_scores(curve, heard).items()}
    row |= {name + "_truth": value for name, value in _event_scores(heard.truth, heard).items()}
    pictures, sheet = {}, None
    if options.rendered:
        pictures, sheet = rendered_scores(heard, looked, instruments, steps.alive)
    row |= pictures
    row["seconds"] = time.perf_counter() - start
    return row, sheet, (curves[""], heard)


def _hear(clip: Path, options: AudioOptions, instruments: Instruments, steps: Steps) -> tuple[Heard, Row]:
    """Return the clip with its sound put in step, and the beginning of its row."""
    with VideoReader(clip) as reader:
        truth = _true_opening(reader, Sampling(max_frames=options.max_frames), instruments, steps)
        fps = reader.fps
    sound = _cut(read_sound(clip), len(truth) / fps)
    if not np.isfinite(truth).any():
        raise InputError(f"{clip.name} shows no face; leave it out.")
    if not bool(sound.samples.abs().max() > 1e-4):
        raise InputError(f"{clip.name} is silent; leave it out.")
    text = transcript(clip)
    offset, source = _offset(clip, sound, truth, fps, options.offsets)
    sound = advanced(sound, offset)
    spoken = None if text is None else align(sound, text)
    level = 20.0 * np.log10(np.maximum(_level(sound, fps, len(truth)), 1e-6))
    quiet = quiet_frames(level) if spoken is None else unspoken_frames(spoken, len(truth), fps)
    heard = Heard(clip, sound, fps, truth, spoken, settled(quiet, fps))
    row = {
        "clip": clip.name, "speech": "wild" if grid_sentence(clip.stem) is None else "grid", "frames": len(truth),
        "unseen": int(np.isnan(truth).sum()), "mouth_movement": float(np.nanstd(truth)), "offset": offset,
        "offset_from": source, "bilabials": _count(spoken, BILABIALS), "vowels": _count(spoken, OPEN_VOWELS),
        "closures": len(true_closures(truth, fps)), "silent_frames": int(heard.silent.sum()),
    }  # fmt: skip
    return heard, row


def _true_opening(reader: VideoReader, sampling: Sampling, instruments: Instruments, steps: Steps) -> Curve:
    find, seen = instruments.new_tracker(), Observed()
    for frame in sampling.frames(reader):
        seen.add(find(frame))
        steps.one()
    return mouth_opening(seen.landmarks).double().numpy()


def _offset(clip: Path, sound: Sound, truth: Curve, fps: float, known: Mapping[str, float]) -> tuple[float, str]:
    """Return by how many seconds the sound of a clip comes late, and where that is known from."""
    offset = known.get(clip.name, math.nan)
    if abs(offset) <= LARGEST_OFFSET:
        return offset, "list"
    curves = [curve for curve in (energy_curve(sound, fps), phoneme_curve(sound, fps)) if curve is not None]
    count = min(len(truth), *(len(curve) for curve in curves))
    mean = sum((curve[:count] - curve[:count].mean()) / max(curve[:count].std(), 1e-9) for curve in curves)
    offset = estimated_offset(mean, truth[:count], fps)
    return offset, "estimated" if offset else "none"


def advanced(sound: Sound, seconds: float) -> Sound:
    """Return a sound of the same length that comes ``seconds`` earlier (negative: later), with silence at the end."""
    count, shift = sound.samples.shape[1], round(seconds * sound.rate)
    result = torch.zeros_like(sound.samples)
    if abs(shift) < count:
        result[:, max(0, -shift) : count - max(0, shift)] = sound.samples[:, max(0, shift) : count + min(0, shift)]
    return Sound(result, sound.rate)


def _cut(sound: Sound, seconds: float) -> Sound:
    return Sound(sound.samples[:, : max(1, round(seconds * sound.rate))], sound.rate)


def _level(sound: Sound, fps: float, frames: int) -> Curve:
    """Return the root mean square of every frame's sound, as long as the frame is seen."""
    square = sound.samples.double().square().mean(dim=0).numpy()
    total = np.concatenate(([0.0], np.cumsum(square)))
    edges = np.minimum(np.round(np.arange(frames + 1) / fps * sound.rate).astype(int), len(square))
    return np.sqrt((np.diff(total[edges]) / np.maximum(np.diff(edges), 1)).clip(0.0))


def _count(spoken: list[SpokenSound] | None, names: tuple[str, ...]) -> int | None:
    return None if spoken is None else sum(sound.name in names for sound in spoken)


def _curve_scores(curve: Curve, heard: Heard) -> Row:
    lag, value = best_lag(curve, heard.truth, heard.fps)
    known = correlation(curve, heard.truth)
    row = {"correlation": known, "lag": lag if math.isfinite(value) else math.nan, "correlation_at_lag": value}
    return row | _event_scores(curve, heard) | closure_scores(curve, heard.truth, heard.fps)


def _event_scores(curve: Curve, heard: Heard) -> Row:
    spoken: Row = {} if heard.spoken is None else spoken_scores(curve, heard.fps, heard.spoken)
    return spoken | silence_scores(curve, heard.silent)
