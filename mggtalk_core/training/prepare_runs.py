"""Runs of five neighbouring frames with their sound: what SyncNet can tell in and out of step (paper E.4)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import InputError
from ..evaluation.landmarks import mouth_opening
from ..evaluation.lip_sync import MEDIAN, face_box, shown_at
from ..evaluation.syncnet import COEFFICIENTS, FRAMES, STEPS
from ..evaluation.syncnet_sound import HOP, WINDOW, samples_of, speech_coefficients
from ..media.audio import read_sound
from .tracks import ClipTrack

AROUND = 50
"""Frames, at 25 a second, by which the sound kept with a run goes beyond it on either side: false pairs are made of
sound that is moved by up to 2 seconds (Chung & Zisserman 2016)."""
PER_FRAME = STEPS // FRAMES
"""Columns of sound along one frame."""
COLUMNS = 2 * AROUND * PER_FRAME + STEPS
"""Columns of sound that are kept with a run."""
SILENT = 1e-4
"""Largest sample of a sound track that is taken for none."""


@dataclass(frozen=True)
class Run:
    """Five frames of a clip that follow each other 25 times a second, and the sound around them."""

    start: int
    """Place of the first, counted 25 times a second."""
    frames: tuple[int, ...]
    """Index in the clip of each."""
    sound: Float[Tensor, "13 420"]
    """See `run_sound`."""


@dataclass(frozen=True)
class Wanted:
    """What one source is driven to."""

    frames: list[int]
    """Targets that make a pair each, ascending."""
    runs: list[Run] = field(default_factory=list)

    @property
    def beside(self) -> list[int]:
        """Targets that only a run needs, ascending."""
        return sorted({frame for run in self.runs for frame in run.frames} - set(self.frames))


def spoken_runs(
    path: str | os.PathLike[str], track: ClipTrack, usable: Int[Tensor, "n"], sources: Sequence[int], count: int
) -> list[list[Run]]:
    """Return ``count`` runs for each source, ascending: evenly over time, of those in which the lips move most.

    A clip without sound, or so slow that five frames in a fifth of a second are not five different ones, gives none.
    """
    samples = _samples(path) if count else None
    if samples is None:
        return [[] for _ in sources]
    kept = _lively(_candidates(track, usable, sources, len(samples)), track)
    total = min(count * len(sources), len(kept))
    even = [kept[int(place)] for place in np.linspace(0, len(kept) - 1, total).round()] if total else []
    runs = [Run(start, frames_of(start, track.fps), run_sound(samples, start)) for start in even]
    if total < count * len(sources):  # a short clip: sources share its runs
        return [runs[:count] for _ in sources]
    return [runs[place :: len(sources)] for place in range(len(sources))]


def frames_of(start: int, fps: float) -> tuple[int, ...]:
    """Return the five frames of a clip that SyncNet is shown from a place on, counted 25 times a second."""
    return tuple(shown_at(start + step, fps) for step in range(FRAMES))


def run_sound(samples: Float[np.ndarray, "n"], start: int) -> Float[Tensor, "13 420"]:
    """Return `speech_coefficients` from two seconds before a run to two seconds after it, NaN where there is no sound.

    ``samples`` are those of the whole clip (`samples_of`); column ``4 AROUND`` is the run's first.
    """
    first = PER_FRAME * (start - AROUND)
    known = range(max(first, 0), min(first + COLUMNS, column_count(len(samples))))
    result = torch.full((COEFFICIENTS, COLUMNS), torch.nan)
    if known:
        # The emphasis of a sample needs the one before it: so one column more is made, and left out.
        lead = min(known.start, 1)
        part = samples[(known.start - lead) * HOP : (known.stop - 1) * HOP + WINDOW]
        values = torch.from_numpy(speech_coefficients(part)[:, lead : lead + len(known)]).float()
        result[:, known.start - first : known.stop - first] = values
    return result


def column_count(samples: int) -> int:
    """Return how many columns of sound lie wholly within so many samples."""
    return max(0, (samples - WINDOW) // HOP + 1)


def run_boxes(
    landmarks: Float[Tensor, "T 478 d"], seen: Bool[Tensor, "T"], start: int, fps: float
) -> Float[Tensor, "5 3"]:
    """Return the face's box in each frame of a run, as `LipReader` takes it: the median of those around the frame."""
    boxes = []
    for place in range(start, start + FRAMES):
        around = {shown_at(near, fps) for near in range(max(place - MEDIAN // 2, 0), place + MEDIAN // 2 + 1)}
        found = [face_box(landmarks[frame]) for frame in sorted(around) if frame < len(seen) and bool(seen[frame])]
        boxes.append(np.median(found, axis=0))
    return torch.from_numpy(np.stack(boxes)).float()


def _samples(path: str | os.PathLike[str]) -> Float[np.ndarray, "n"] | None:
    """Return the samples of a clip's sound; None where it has none."""
    try:
        sound = read_sound(path)
    except InputError:
        return None
    return samples_of(sound) if bool(sound.samples.abs().max() > SILENT) else None


def _candidates(track: ClipTrack, usable: Int[Tensor, "n"], sources: Sequence[int], samples: int) -> list[int]:
    """Return the places from which five different frames may be used, none of them a source, and all are heard."""
    free = set(usable.tolist()) - set(sources)
    last = (column_count(samples) - STEPS) // PER_FRAME
    return [start for start in range(last + 1) if len(free & set(frames_of(start, track.fps))) == FRAMES]


def _lively(starts: list[int], track: ClipTrack) -> list[int]:
    """Return the half of the runs in which the lips' opening spreads most: lips at rest say nothing of sound."""
    if not starts:
        return []
    opening = mouth_opening(track.landmarks)
    spread = torch.stack([opening[list(frames_of(start, track.fps))].std() for start in starts])
    most = spread.argsort(descending=True, stable=True)[: (len(starts) + 1) // 2]
    return [starts[place] for place in most.sort().values.tolist()]
