"""The clips with sound that the mouth net learns from, whose they are, and how they are held apart."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..evaluation.manifest import read_manifest
from ..media.audio import read_sound
from ..progress import OnStep, ignore_steps
from .audio_data import Speech, speech_from_track
from .tracks import read_track, track_all

LEAST_SEEN = 0.85
"""Least share of frames with a face: what is interpolated is no truth."""
SAME_SOUND = 0.95
"""Correlation of the loudness of two clips of one length from which they are one recording on two faces."""


@dataclass(frozen=True)
class SpokenClip:
    """A clip of somebody speaking."""

    speech: Speech
    split: str
    real: bool
    """Filmed, not made by another model."""
    studio: bool
    """Sentences read out in a studio."""
    movement: float
    """Spread of the mouth's opening, as the list of the clips gives it."""


def gather_clips(
    manifest: str | os.PathLike[str], tracks: str | os.PathLike[str], *, on_step: OnStep = ignore_steps
) -> tuple[list[SpokenClip], dict[str, str]]:
    """Return the clips of a list that show one person speaking, and why the others are left out.

    Clips that are not tracked yet are tracked first; see `track_all`.

    Raises:
        InputError: the list cannot be read.
    """
    rows = [row for row in read_manifest(manifest) if row["kind"] == "clip" and row.get("has_audio") == "yes"]
    rows = [row for row in rows if row.get("one_face") == "yes" and row.get("origin") in ("real", "generated")]
    paths = [Path(manifest).parent / row["path"] for row in rows]
    report = track_all(paths, tracks, on_step=on_step)
    clips, left_out = [], {path.name: reason for path, reason in report.rejected.items()}
    for row, path in zip(rows, paths, strict=True):
        if path not in report.tracks:
            continue
        try:
            clips.append(_spoken_clip(row, path, report.tracks[path]))
        except InputError as error:
            left_out[path.name] = str(error)
    return _named_by_sound(clips), left_out


def _spoken_clip(row: dict[str, str], path: Path, track_path: Path) -> SpokenClip:
    track = read_track(track_path)
    if float(track.seen.float().mean()) < LEAST_SEEN:
        raise InputError(f"{path.name}: the face is out of sight too often; leave it out.")
    speech = speech_from_track(path.name, row["identity"], track, read_sound(path))
    studio = row.get("note", "").startswith(("GRID", "VidTIMIT"))
    return SpokenClip(speech, row["split"], row["origin"] == "real", studio, float(row.get("mouth_std") or 0.0))


def _named_by_sound(clips: list[SpokenClip]) -> list[SpokenClip]:
    """Give clips that share one recording the speaker of the first: a voice counts as one speaker on any face."""
    named: list[SpokenClip] = []
    for clip in clips:
        twin = next((other for other in named if _same_sound(clip.speech, other.speech)), clip)
        named.append(replace(clip, speech=replace(clip.speech, speaker=twin.speech.speaker)))
    return named


def _same_sound(one: Speech, other: Speech) -> bool:
    if abs(len(one.mel) - len(other.mel)) > 4:
        return False
    count = min(len(one.mel), len(other.mel))
    return float(np.corrcoef(one.mel[:count].mean(axis=1), other.mel[:count].mean(axis=1))[0, 1]) > SAME_SOUND


def fold_of(speech: Speech, folds: int) -> int:
    """Return the fold that a speaker is held out in; it depends on the name alone."""
    return zlib.crc32(speech.speaker.encode()) % folds


def for_training(clips: Sequence[SpokenClip]) -> list[SpokenClip]:
    """Return the clips of the training split whose voice is not heard in a real clip of any other split."""
    held_out = {clip.speech.speaker for clip in clips if clip.split != "train" and clip.real}
    return [clip for clip in clips if clip.split == "train" and clip.speech.speaker not in held_out]


def for_scoring(clips: Sequence[SpokenClip]) -> list[SpokenClip]:
    """Return the filmed clips of the validation splits."""
    return [clip for clip in clips if clip.split != "train" and clip.real]
