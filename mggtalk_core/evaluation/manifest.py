"""Choosing test material from its list."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from ..errors import InputError

Item = dict[str, str]


def read_manifest(path: str | os.PathLike[str]) -> list[Item]:
    """Read a list of test material: one row per file, with at least the columns path, kind and split.

    Raises:
        InputError: no such file, or a column is missing.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read the list {path}; give a CSV file.") from error
    missing = {"path", "kind", "split"} - set(rows[0] if rows else ())
    if missing:
        raise InputError(f"The list {path} has no column {', '.join(sorted(missing))}; add it.")
    return rows


def select(
    path: str | os.PathLike[str],
    kind: str,
    *,
    split: str | None = "val",
    origin: str | None = "real",
    one_face: bool = True,
    least_mouth_movement: float = 0.0,
    tag: str | None = None,
) -> list[Path]:
    """Return the files of one kind (``clip``, ``portrait``, ``audio``) that meet all conditions, in the list's order.

    Args:
        path: the list; the paths in it are relative to its folder.
        kind: what to choose.
        split: ``train``, ``val`` or ``val_turn``; None takes all.
        origin: ``real``, ``generated``, ``art``, ``cartoon`` or ``synthetic``; None takes all.
        one_face: leave out pictures in which not exactly one face is seen.
        least_mouth_movement: least value of the column ``mouth_std``.
        tag: one of the tags must be this.

    Raises:
        InputError: the list cannot be read, or nothing meets the conditions.
    """

    def fits(item: Item) -> bool:
        return (
            item["kind"] == kind
            and split in (None, item["split"])
            and origin in (None, item.get("origin"))
            and (not one_face or item.get("one_face") == "yes")
            and (least_mouth_movement <= 0.0 or float(item.get("mouth_std") or 0.0) >= least_mouth_movement)
            and (tag is None or tag in (item.get("tags") or "").split(";"))
        )

    chosen = [Path(path).parent / item["path"] for item in read_manifest(path) if fits(item)]
    if not chosen:
        raise InputError(f"Nothing in {path} is a {kind} that meets the conditions; loosen them.")
    return chosen
