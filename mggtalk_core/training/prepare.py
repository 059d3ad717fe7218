"""``train prepare``: any folder of clips to shards of training pairs, with a report of what could not be used."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import zip_longest
from pathlib import Path

from ..errors import InputError
from ..evaluation.clips import Steps
from ..evaluation.manifest import read_manifest, select
from ..evaluation.tables import Row, Table
from ..media.atomic import replacing
from ..processes import in_processes
from ..progress import OnStep, ignore_steps
from .prepare_clip import ClipItem, PrepareOptions, prepare_clip
from .shards import VERSION
from .tracks import ClipTrack, read_track, track_clip, track_file

CLIP_SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v"}
REPORT = "report.json"
RECORDS = "clips"
"""Folder beside the shards that holds what came of every clip: a clip with a record is not done again."""


def items_of(paths: Iterable[str | os.PathLike[str]]) -> list[ClipItem]:
    """Return the clips of files and folders; each is taken for an identity of its own, named after the file.

    Raises:
        InputError: a folder without clips, or two clips of one name.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = (
            sorted(file for file in path.rglob("*") if file.suffix.lower() in CLIP_SUFFIXES)
            if path.is_dir()
            else [path]
        )
        if not found:
            raise InputError(f"No clip in {path}; give a folder that holds some.")
        files += found
    return _distinct([ClipItem(file, file.stem) for file in files])


def items_of_manifest(manifest: str | os.PathLike[str], split: str) -> list[ClipItem]:
    """Return the clips of a split of a list, with the identities and licence classes that it tells.

    Raises:
        InputError: the list cannot be read, or the split has no clip that can be used.
    """
    told = {Path(manifest).parent / row["path"]: row for row in read_manifest(manifest)}
    return _distinct(
        [
            ClipItem(path, told[path].get("identity") or path.stem, told[path].get("licence_class") or "")
            for path in select(manifest, "clip", split=split)
        ]
    )


def prepare(
    items: Sequence[ClipItem],
    folder: str | os.PathLike[str],
    options: PrepareOptions | None = None,
    *,
    tracks: str | os.PathLike[str] | None = None,
    jobs: int = 1,
    on_step: OnStep = ignore_steps,
) -> Table:
    """Make the pairs of many clips, many identities first, and report on them in the folder's ``report.json``.

    What is done is kept: a second call goes on where the first one ended. The result does not depend on ``jobs``.

    Args:
        items: the clips.
        folder: where shards, records and the report go; it is made.
        options: numbers of sources, targets and runs.
        tracks: folder of tracks by `track_file`; clips without one are tracked, and the track is not kept.
        jobs: processes to work in; 1 works in this one.
        on_step: counts the clips that are to do.

    Raises:
        InputError: nothing is given, or the folder cannot be written.
    """
    if not items:
        raise InputError("No clip was given; name clips, a folder of them, or a list.")
    folder, options = Path(folder), options or PrepareOptions()
    try:
        (folder / RECORDS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    ordered = identities_first(items)
    todo = [item for item in ordered if _record(folder, item, options) is None]
    steps = Steps(len(todo), on_step)
    work = partial(_prepare_item, folder=folder, options=options, tracks=None if tracks is None else Path(tracks))
    for _ in in_processes(work, todo, jobs, steps.alive):
        steps.one()
    table = Table("Training pairs", asdict(options) | {"version": VERSION})
    table.rows += [_record(folder, item, options)["row"] for item in ordered]
    table.write(folder / REPORT, summary=summary(table))
    return table


def identities_first(items: Sequence[ClipItem]) -> list[ClipItem]:
    """Return one clip of every identity, then a second one of those that have more, and so on."""
    groups: dict[str, list[ClipItem]] = {}
    for item in items:
        groups.setdefault(item.identity, []).append(item)
    return [item for turn in zip_longest(*groups.values()) for item in turn if item is not None]


def summary(table: Table) -> Row:
    """Return how much there is in all, and how many clips were left out for each reason."""
    used = [row for row in table.rows if "error" not in row]
    reasons = Counter(row["error"].split(":")[0] for row in table.rows if "error" in row)
    counted = ("sources", "pairs", *(("runs",) if table.settings.get("runs") else ()), "megabytes")
    totals = {name: sum(row[name] for row in used) for name in counted}
    return {"clips": len(used), "identities": len({row["identity"] for row in used}), **totals, "rejected": reasons}


def _prepare_item(
    item: ClipItem, on_step: OnStep, *, folder: Path, options: PrepareOptions, tracks: Path | None
) -> None:
    """Make the pairs of one clip and keep what came of it as its record."""
    start = time.perf_counter()
    row: Row = {"clip": item.path.name, "identity": item.identity, "licence_class": item.licence_class}
    try:
        row |= prepare_clip(item, _track(item, tracks, on_step), folder, options, on_step=on_step)
        row["seconds"] = time.perf_counter() - start
    except InputError as error:
        row["error"] = str(error)
    record = {"stamp": _stamp(item, options), "row": row}
    with replacing(_record_path(folder, item)) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _track(item: ClipItem, tracks: Path | None, on_step: OnStep) -> ClipTrack:
    kept = None if tracks is None else track_file(tracks, item.path)
    return read_track(kept) if kept is not None and kept.is_file() else track_clip(item.path, on_step=on_step)


def _record_path(folder: Path, item: ClipItem) -> Path:
    return folder / RECORDS / f"{item.path.name}.json"


def _record(folder: Path, item: ClipItem, options: PrepareOptions) -> dict[str, Row] | None:
    """Return what came of a clip before; None where it was not done, has changed, or other numbers were asked for."""
    try:
        record = json.loads(_record_path(folder, item).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if record["stamp"] == _stamp(item, options) else None


def _stamp(item: ClipItem, options: PrepareOptions) -> Row:
    """Return what a clip's pairs depend on."""
    state = item.path.stat() if item.path.is_file() else None
    size, time_ns = (state.st_size, state.st_mtime_ns) if state else (0, 0)
    told = {"identity": item.identity, "licence_class": item.licence_class}
    numbers = asdict(options)
    if not options.runs:  # records made before there were runs stay good
        numbers.pop("runs")
    return {"version": VERSION, "size": size, "mtime_ns": time_ns, **told, **numbers}


def _distinct(items: list[ClipItem]) -> list[ClipItem]:
    """Refuse two clips of one name: their shards would be the same files."""
    twice = [name for name, count in Counter(item.path.name for item in items).items() if count > 1]
    if twice:
        raise InputError(f"Two clips are called {twice[0]}; rename one of them.")
    return items
