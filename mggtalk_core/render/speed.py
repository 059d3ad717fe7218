"""How fast the CPU rasteriser is on this machine."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from ..gaussians.gaussians import Gaussians
from ..progress import OnStep, ignore_steps
from .cpu.rasterizer import Rasterizer
from .rasterize import available_backends
from .reference import render_reference
from .synthetic import head_camera, head_scene

COUNTS = (50_000, 100_000, 150_000, 200_000, 400_000)
SIZES = (256, 512, 1024)
THREADS = (1, 2)


def benchmark_render(
    counts: tuple[int, ...] = COUNTS, sizes: tuple[int, ...] = SIZES, repeats: int = 7, on_step: OnStep = ignore_steps
) -> dict[str, Any]:
    """Time the rasteriser on head-like scenes and compare it with the float64 reference on a small one.

    Milliseconds depend on the machine and on what else it does: ``calibration_ms``, a fixed piece of arithmetic on one
    thread timed in the same run, tells how fast it was then.
    """
    error = _largest_error()
    with torch.inference_mode():
        calibration = _milliseconds(_calibration, repeats)
        cases = list(itertools.product(counts, sizes, THREADS))
        rows = []
        for step, (count, size, threads) in enumerate(cases):
            rows.append(_timed(head_scene(count), size, threads, repeats))
            on_step(step + 1, len(cases))
    return {
        "backends": ", ".join(available_backends()),
        "largest_error_to_reference": error,
        "calibration_ms": calibration,
        "numba": rows,
    }


def _timed(scene: Gaussians, size: int, threads: int, repeats: int) -> dict[str, Any]:
    draw, camera = Rasterizer(threads), head_camera(size)
    times = _milliseconds(lambda: draw(scene, camera), repeats)
    return {"gaussians": len(scene), "size": size, "threads": threads, **times}


def _milliseconds(task: Callable[[], object], repeats: int) -> dict[str, float]:
    """Run ``task`` once unmeasured, then ``repeats`` times; return the least and median time and the least CPU time.

    CPU time is summed over the threads, and hardly depends on what else the machine does.
    """
    task()
    times, work = [], []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        task()
        times.append((time.perf_counter() - start) * 1e3)
        work.append((time.process_time() - busy) * 1e3)
    return {
        "min_ms": round(min(times), 2),
        "median_ms": round(statistics.median(times), 2),
        "cpu_ms": round(min(work), 2),
    }


def _calibration() -> None:
    values = torch.linspace(-5.0, 0.0, 1 << 14)  # 64 kB stays in the cache and is too little to share out
    for _ in range(64):
        values = torch.exp(-values * values - 0.1)


def _largest_error() -> float:
    """Return the largest difference of colour or alpha to the dense float64 reference on a scene of 64 pixels."""
    scene, camera = head_scene(1500), head_camera(64, yaw=15.0)
    fast, exact = Rasterizer(2)(scene, camera), render_reference(scene, camera)
    return float(torch.cat((fast.rgb - exact.rgb, fast.alpha - exact.alpha)).abs().max())
