"""Live Link Face's CSV: 52 blendshapes and, in most recordings, the angles of head and eyes."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError
from ..portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES
from .motion import Motion
from .rig import EYE_DISTANCE, neutral_state, pose_about_neck
from .smooth import fill_gaps
from .timing import take

HEAD_COLUMNS = ("HeadYaw", "HeadPitch", "HeadRoll")
"""Radians; absent from recordings without head rotation."""

RATES = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 90.0, 100.0, 120.0, 240.0)
"""Frame rates that a timecode may count in."""

LOOK_YAW, LOOK_PITCH = math.radians(30.0), math.radians(25.0)
"""Eyeball angle of a full ``eyeLookIn/Out`` and ``eyeLookUp/Down``."""


@dataclass(frozen=True)
class _Table:
    """Cells by lower-case column name; blank or unreadable rows of an untracked face are not ``found``."""

    timecodes: list[str]
    columns: dict[str, Float[Tensor, "T"]]
    found: Bool[Tensor, "T"]


def read_live_link(path: Path) -> Motion:
    """Read a recording of Live Link Face; columns are found by name, in any order and case.

    Head angles are read where present (radians; + to the subject's left, up, and crown to the left) and turn the head
    about its neck, as the app records no place. The eyes' own columns are not needed: gaze follows ``eyeLook*``, whose
    meaning does not depend on the app's mirroring. Frames that the app dropped are interpolated, rows without a
    tracked face are held and listed in ``Motion.held``. The rest is a neutral face.

    Raises:
        InputError: columns are missing (they are named), a cell is not a number, or there is no tracked row.
    """
    table = _read_table(path)
    fps, places = _timing(table.timecodes)
    beta = torch.stack([table.columns[name.lower()] for name in BLENDSHAPES], dim=-1).float()
    none = torch.zeros(len(beta), dtype=torch.float64)
    angles = torch.stack([table.columns.get(name.lower(), none) for name in HEAD_COLUMNS], dim=-1)
    rotation, swing = pose_about_neck(torch.rad2deg(angles))
    rest = neutral_state()
    motion = Motion(
        beta=beta,
        gaze=gaze_from_looks(beta),
        rotation=rotation.float(),
        translation=(rest.translation + swing).float(),
        fps=fps,
        rest=rest,
        eye_distance=EYE_DISTANCE,
        kind="file",
    )
    return _on_grid(motion, table.found, places)


def gaze_from_looks(beta: Float[Tensor, "T 52"]) -> Float[Tensor, "T 4"]:
    """Return the eyeball angles (radians) that the eight ``eyeLook*`` coefficients stand for."""

    def look(name: str) -> Tensor:
        return beta[:, BLENDSHAPE_INDEX[f"eyeLook{name}"]]

    left_yaw = LOOK_YAW * (look("OutLeft") - look("InLeft"))
    right_yaw = LOOK_YAW * (look("InRight") - look("OutRight"))
    left_pitch = LOOK_PITCH * (look("UpLeft") - look("DownLeft"))
    right_pitch = LOOK_PITCH * (look("UpRight") - look("DownRight"))
    return torch.stack((left_yaw, left_pitch, right_yaw, right_pitch), dim=-1)


def _read_table(path: Path) -> _Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV text file; export the take from Live Link Face again.") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    missing = [name for name in ("Timecode", *BLENDSHAPES) if name.lower() not in header]
    if missing:
        named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise InputError(f"{path} lacks the column{'s' * (len(missing) > 1)} {named}; export all 52 blendshapes.")
    wanted = [name.lower() for name in (*BLENDSHAPES, *HEAD_COLUMNS) if name.lower() in header]
    places = [header.index(name) for name in wanted]
    cells = [_row_values(path, number, row, places) for number, row in enumerate(rows[1:], start=2)]
    found = torch.tensor([values is not None for values in cells], dtype=torch.bool)
    if not bool(found.any()):
        raise InputError(f"{path} holds no row with a tracked face; record the take again.")
    values = torch.tensor([[0.0] * len(places) if row is None else row for row in cells], dtype=torch.float64)
    place = header.index("timecode")
    timecodes = [row[place] if place < len(row) else "" for row in rows[1:]]
    return _Table(timecodes, dict(zip(wanted, values.unbind(-1), strict=True)), found)


def _row_values(path: Path, number: int, row: list[str], places: list[int]) -> list[float] | None:
    """Return the numbers of a row, or None where the app wrote none because it saw no face."""
    cells = [row[place].strip() if place < len(row) else "" for place in places]
    if not any(cells):
        return None
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        values = [math.nan]
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"{path}, line {number}: a cell is empty or not a number; export the take again.")
    return values


def _timing(timecodes: list[str]) -> tuple[float, list[int]]:
    """Return the frame rate and the place of each row on the grid of frames that starts with the first row.

    A timecode ``HH:MM:SS:FF.fff`` counts frames within the second; the highest FF tells the timecode's rate, the median
    step between rows how many of its frames a row takes. Without readable timecodes rows are taken at 60 a second.
    """
    parts = [_split(timecode) for timecode in timecodes]
    if len(parts) < 2 or any(part is None for part in parts):
        return 60.0, list(range(len(timecodes)))
    highest = max(frame for _, frame in parts)
    spans_second = parts[-1][0] != parts[0][0]
    rate = next((r for r in RATES if r > math.floor(highest)), 60.0) if spans_second else 60.0
    counts = torch.tensor([second * rate + frame for second, frame in parts], dtype=torch.float64)
    midnights = (counts.diff(prepend=counts[:1]) < -43200.0 * rate).cumsum(0)
    counts = counts - counts[0] + 86400.0 * rate * midnights
    step = max(1, round(float(counts.diff().median())))
    return rate / step, (counts / step).round().long().tolist()


def _split(timecode: str) -> tuple[float, float] | None:
    fields = timecode.strip().replace(";", ":").split(":")
    try:
        hours, minutes, seconds, frame = (float(field) for field in fields)
    except ValueError:
        return None
    return 3600.0 * hours + 60.0 * minutes + seconds, frame


def _on_grid(motion: Motion, found: Bool[Tensor, "T"], places: list[int]) -> Motion:
    """Spread the rows over an even grid of frames; places that no tracked row fills are interpolated."""
    if any(b <= a for a, b in zip(places, places[1:], strict=False)) or places[-1] > 20 * len(places):
        places = list(range(len(places)))  # clock jumped: trust the rows, not the times
    frames = places[-1] + 1
    source = torch.zeros(frames, dtype=torch.long)
    source[places] = torch.arange(len(places))
    known = torch.zeros(frames, dtype=torch.bool)
    known[places] = found
    return fill_gaps(take(motion, source), known)
