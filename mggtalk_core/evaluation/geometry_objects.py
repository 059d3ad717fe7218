"""Bilateral normal integration on objects that were measured (DiLiGenT), in both precisions."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from ..geometry.bini import DEFAULTS, integrate_normals
from ..parallel import one_thread
from ..progress import OnStep, ignore_steps
from .made import MeasuredObject, mean_absolute_depth_error, measured_objects
from .tables import Row, Table

PRECISIONS = ("float64", "float32")


def evaluate_objects(folder: Path, on_step: OnStep = ignore_steps) -> Table:
    """Return a row per object: error (MADE, in the unit of the truth), seconds, rounds and energy per precision.

    Seconds are processor time of one thread; ``loss`` is by how many percent the error of float32 exceeds float64's.

    Raises:
        InputError: there is no object in ``folder``, or one cannot be read.
    """
    objects = list(measured_objects(folder))
    table = Table("Bilateral normal integration of measured objects", {"objects": len(objects)})
    with one_thread():
        for done, item in enumerate(objects):
            on_step(done, len(objects))
            table.rows.append(_row(item, lambda _step, _steps, done=done: on_step(done, len(objects))))
    on_step(len(objects), len(objects))
    return table


def _row(item: MeasuredObject, on_step: OnStep) -> Row:
    row: Row = {"object": item.name, "pixels": int(item.mask.sum())}
    for precision in PRECISIONS:
        start = time.thread_time()
        result = integrate_normals(
            item.normals,
            item.mask,
            intrinsics=item.intrinsics,
            options=replace(DEFAULTS, precision=precision),
            on_step=on_step,
        )
        row[f"seconds_{precision}"] = time.thread_time() - start
        row[f"made_{precision}"] = mean_absolute_depth_error(result.depth, item.depth, item.mask, perspective=True)
        row[f"rounds_{precision}"] = len(result.energy)
        row[f"energy_{precision}"] = result.energy[-1]
    row["loss"] = 100.0 * (row["made_float32"] / row["made_float64"] - 1.0)
    return row
