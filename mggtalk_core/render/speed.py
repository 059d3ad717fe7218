"""How fast the CPU rasteriser is on this machine."""

from __future__ import annotations

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
        rows = []
        for step, count in enumerate(counts):
            scene = head_scene(count)
            for size in sizes:
                rows += [_timed(scene, size, threads, repeats) for threads in THREADS]
                on_step(step * len(sizes) + sizes.index(size) + 1, len(counts) * len(sizes))
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
    """Run ``task`` once unmeasured, then ``repeats`` times; return the least and the median time."""
    task()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append((time.perf_counter() - start) * 1e3)
    return {"min_ms": round(min(times), 2), "median_ms": round(statistics.median(times), 2)}


def _calibration() -> None:
    values = torch.linspace(-5.0, 0.0, 1 << 14)  # 64 kB stays in the cache and is too little to share out
    for _ in range(64):
        values = torch.exp(-values * values - 0.1)


def _largest_error() -> float:
    """Return the largest difference of colour or alpha to the dense float64 reference on a scene of 64 pixels."""
    scene, camera = head_scene(1500), head_camera(64, yaw=15.0)
    fast, exact = Rasterizer(2)(scene, camera), render_reference(scene, camera)
    return float(torch.cat((fast.rgb - exact.rgb, fast.alpha - exact.alpha)).abs().max())
