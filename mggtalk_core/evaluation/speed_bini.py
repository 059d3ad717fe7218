"""Seconds and errors of bilateral normal integration, against its plain twin in the same run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..geometry.bini import DEFAULTS, Integration, integrate_normals
from ..geometry.bini_reference import integrate_reference
from ..parallel import one_thread
from ..progress import OnStep, ignore_steps
from .made import MeasuredObject, mean_absolute_depth_error, measured_objects

SIZE = 256
"""Pixels along a side of the object that is made up when none is given."""
FOCAL = 2.7
"""Focal length of the made-up camera per side of the picture."""
DISTANCE, RADIUS = 600.0, 100.0
"""Of the made-up ball, millimetres."""
RUNS = 4
"""Every solver runs this often on every object, in turns, so that what else the machine does meets all; the fastest
counts."""
Solve = Callable[[MeasuredObject], Integration]


def benchmark_bini(folder: Path | None = None, on_step: OnStep = ignore_steps) -> dict[str, Any]:
    """Integrate every object with the twin and with the stencil in both precisions, one thread each.

    Seconds are processor time of the thread, so that what else the machine does hardly counts, and are followed by the
    seconds that passed. MADE is in the unit of the true depth: millimetres for DiLiGenT.

    Args:
        folder: objects in DiLiGenT's layout; None makes up one.
        on_step: objects done, objects.

    Raises:
        InputError: the folder holds no object.

    """
    objects = list(_made_up() if folder is None else measured_objects(folder))
    with one_thread():
        _compile(objects[0], on_step)
        rows = []
        for done, each in enumerate(objects):

            def alive(_step: int, _steps: int, done: int = done) -> None:
                on_step(done, len(objects))

            rows.append(_row(each, alive))
            on_step(done + 1, len(objects))
    return {"cores": os.cpu_count(), "load": _load(), "objects": rows, "sum": _sum(rows)}


def _solvers(on_step: OnStep) -> dict[str, Solve]:
    def stencil(precision: str) -> Solve:
        options = replace(DEFAULTS, precision=precision)
        return lambda o: integrate_normals(o.normals, o.mask, intrinsics=o.intrinsics, options=options, on_step=on_step)

    return {
        "twin": lambda o: integrate_reference(o.normals, o.mask, intrinsics=o.intrinsics, on_step=on_step),
        "float64": stencil("float64"),
        "float32": stencil("float32"),
    }


def _row(item: MeasuredObject, on_step: OnStep) -> dict[str, Any]:
    row: dict[str, Any] = {"object": item.name, "pixels": int(item.mask.sum())}
    solvers = _solvers(on_step)
    runs: dict[str, list[tuple[Integration, float]]] = {name: [] for name in solvers}
    for _ in range(RUNS):
        for name, solve in solvers.items():
            runs[name].append(_timed(solve, item))
    seconds = {name: min(cpu for _, cpu in each) for name, each in runs.items()}
    for name, each in runs.items():
        result = each[0][0]
        made = mean_absolute_depth_error(result.depth, item.depth, item.mask, perspective=True)
        row[f"{name}_made"], row[f"{name}_seconds"] = round(made, 4), round(seconds[name], 3)
        row[f"{name}_elapsed"] = round(min(run.seconds for run, _ in each), 3)
        row[f"{name}_energy"] = round(result.energy[-1], 3)
        row[f"{name}_rounds"], row[f"{name}_iterations"] = len(result.energy), result.iterations
    for name in ("float64", "float32"):
        row[f"{name}_ratio"] = round(seconds["twin"] / seconds[name], 2)
    return row


def _timed(solve: Solve, item: MeasuredObject) -> tuple[Integration, float]:
    start = time.thread_time()
    return solve(item), time.thread_time() - start


def _sum(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the seconds of all objects together and how many times faster than the twin each precision is."""
    seconds = {name: sum(row[f"{name}_seconds"] for row in rows) for name in ("twin", "float64", "float32")}
    ratios = {f"{name}_ratio": round(seconds["twin"] / seconds[name], 2) for name in ("float64", "float32")}
    return {f"{name}_seconds": round(value, 3) for name, value in seconds.items()} | ratios


def _compile(item: MeasuredObject, on_step: OnStep) -> None:
    """Compile the kernels, or read them from the disk, before anything is timed."""
    few = item.mask & (torch.cumsum(item.mask.flatten(), 0).view_as(item.mask) < 1000)
    for solve in _solvers(on_step).values():
        solve(replace(item, mask=few))


def _load() -> float | None:
    """Return how many threads wanted to run in the last minute, where the system says so."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _made_up() -> Iterator[MeasuredObject]:
    """Yield a bumpy ball before a camera: smooth everywhere, its true depth known."""
    focal = FOCAL * SIZE
    ticks = (torch.arange(SIZE, dtype=torch.float64) + 0.5 - SIZE / 2) / (SIZE / 2)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    mask = x * x + y * y < 0.9**2
    relief = torch.sqrt((1.0 - x * x - y * y).clamp(min=1e-6)) + 0.03 * torch.sin(14 * x) * torch.cos(11 * y)
    depth = DISTANCE - RADIUS * relief
    rays = torch.stack((x * SIZE / 2, y * SIZE / 2, torch.full_like(x, focal))) / focal
    along_y, along_x = torch.gradient(rays * depth, dim=(1, 2))
    normals = torch.linalg.cross(along_y, along_x, dim=0)
    normals = normals / normals.norm(dim=0)
    yield MeasuredObject("ball", normals, mask, (focal, focal, SIZE / 2, SIZE / 2), depth)
