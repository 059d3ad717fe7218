"""How fast the rasterisers are on this machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..clock import peak_memory_mb
from ..gaussians.gaussians import Gaussians
from ..parallel import ordered_map, worker_count
from ..progress import OnStep, ignore_steps
from . import speed_compare
from .cpu.rasterizer import Rasterizer
from .rasterize import available_backends, render
from .reference import render_reference
from .synthetic import head_camera, head_scene

COUNTS = (50_000, 100_000, 150_000, 250_000, 400_000, 500_000)
SIZES = (256, 512, 1024)
WIDTHS = (0.5, 1.0, 2.0, 4.0)
"""Splat sizes as multiples of the usual one, half a pixel to one and a half."""
_USUAL = 150_000


@dataclass(frozen=True)
class Case:
    """One scene and how it is rendered."""

    sweep: str
    count: int = _USUAL
    size: int = 512
    width: float = 1.0
    threads: int = 1


def benchmark_render(
    counts: tuple[int, ...] = COUNTS,
    sizes: tuple[int, ...] = SIZES,
    widths: tuple[float, ...] = WIDTHS,
    repeats: int = 5,
    comfyui: Path | None = None,
    comfyui_python: str | None = None,
    on_step: OnStep = ignore_steps,
) -> dict[str, Any]:
    """Time the rasterisers on head-like scenes, forward and backward, and compare them with others in the same run.

    Milliseconds depend on the machine and on what else it does: ``calibration``, a fixed piece of arithmetic on one
    thread timed in the same run, tells how fast it was then; the comparisons are ratios.

    Args:
        counts: Numbers of Gaussians, at 512 pixels.
        sizes: Picture sizes in pixels, with 150,000 Gaussians.
        widths: Sizes of the Gaussians as multiples of the usual one.
        repeats: How often each case is measured.
        comfyui: Folder of a ComfyUI whose own RenderSplat is timed on the same scene.
        comfyui_python: The Python that runs it.
        on_step: Progress.
    """
    cases = [Case("gaussians", count=count) for count in counts]
    cases += [Case("pixels", size=size) for size in sizes]
    cases += [Case("splat size", width=width) for width in widths]
    cases += [Case("threads", threads=threads) for threads in range(2, min(worker_count(), 4) + 1)]
    total = len(cases) + 4
    # First, since it is what may fail.
    others = speed_compare.against_render_splat(comfyui, comfyui_python) if comfyui is not None else None
    calibration = milliseconds(_calibration, repeats)
    rows = []
    for step, case in enumerate(cases):
        rows.append(_timed(case, repeats))
        on_step(step + 1, total)
    result = {
        "backends": ", ".join(available_backends("cuda" if torch.cuda.is_available() else "cpu")),
        "cores": os.cpu_count(),
        "largest_error_to_reference": _largest_error(),
        "calibration": calibration,
        "numba": rows,
        "video": _video(),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    on_step(len(cases) + 1, total)
    result["against_reference"] = speed_compare.against_reference(repeats)
    on_step(len(cases) + 2, total)
    result["against_gsplat_torch"] = speed_compare.against_gsplat_torch(repeats)
    on_step(len(cases) + 3, total)
    if others is not None:
        result["against_render_splat"] = others
    if torch.cuda.is_available():
        result["gpu"] = list(_gpu_rows())
    on_step(total, total)
    return result


def usual_scene(case: Case) -> Gaussians:
    """Return the scene of a case."""
    scene = head_scene(case.count)
    return replace(scene, scales=scene.scales * case.width)


def _timed(case: Case, repeats: int) -> dict[str, Any]:
    """Time forward and backward; the backward gets a random gradient of every output."""
    scene, camera, draw = usual_scene(case), head_camera(case.size), Rasterizer(case.threads)
    tensors = (scene.means, scene.quats, scene.scales, scene.opacities, scene.sh)
    gradient = torch.randn(5, case.size, case.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        forward = milliseconds(lambda: draw(scene, camera), repeats)
        frame = draw.forward(tensors, camera, False)
        backward = milliseconds(lambda: draw.backward(frame, gradient), repeats)
    return {
        "sweep": case.sweep,
        "gaussians": case.count,
        "size": case.size,
        "width": case.width,
        "threads": case.threads,
        "forward": forward,
        "backward": backward,
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }


def milliseconds(task: Callable[[], object], repeats: int) -> dict[str, float]:
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


def _video(frames: int = 40) -> dict[str, float]:
    """Return frames per second with one worker and with one on every core; the two take turns, the best counts."""
    scene, cameras = head_scene(_USUAL), [head_camera(512, 0.5 * k) for k in range(frames)]
    draw = Rasterizer(1)
    best = {1: 0.0, worker_count(): 0.0}
    for _ in range(3):
        for workers in best:
            start = time.perf_counter()
            for _ in ordered_map(lambda camera: draw(scene, camera), cameras, workers):
                pass
            best[workers] = max(best[workers], frames / (time.perf_counter() - start))
    one, many = best[1], best[worker_count()]
    return {
        "workers": worker_count(),
        "one_worker_fps": round(one, 1),
        "all_workers_fps": round(many, 1),
        "ratio": round(many / one, 2),
    }


def _gpu_rows() -> Iterator[dict[str, Any]]:
    """Time batches of frames on the GPU with every backend that runs there."""
    scene = head_scene(_USUAL).to("cuda")
    for backend in (name for name in available_backends("cuda") if name in ("gsplat", "warp")):
        for batch in (1, 8, 32):
            cameras = [head_camera(512, 0.5 * k) for k in range(batch)]
            with torch.inference_mode():
                forward = _gpu_seconds(lambda cameras=cameras, name=backend: _render_all(scene, cameras, name))
            means = scene.means.clone().requires_grad_(True)
            moving = replace(scene, means=means)
            both = _gpu_seconds(
                lambda cameras=cameras, name=backend, g=moving: _render_all(g, cameras, name).backward()
            )
            yield {
                "backend": backend,
                "batch": batch,
                "forward_fps": round(batch / forward, 1),
                "forward_backward_fps": round(batch / both, 1),
            }


def _render_all(scene: Gaussians, cameras: list, backend: str) -> torch.Tensor:
    return sum(render(scene, camera, backend=backend).rgb.sum() for camera in cameras)


def _gpu_seconds(task: Callable[[], object], repeats: int = 3) -> float:
    best = float("inf")
    for _ in range(repeats + 1):  # the first round compiles; the best counts
        torch.cuda.synchronize()
        start = time.perf_counter()
        task()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def _largest_error() -> float:
    """Return the largest difference of colour or alpha to the dense float64 reference on a scene of 64 pixels."""
    scene, camera = head_scene(1500), head_camera(64, yaw=15.0)
    fast, exact = Rasterizer(2)(scene, camera), render_reference(scene, camera)
    return float(torch.cat((fast.rgb - exact.rgb, fast.alpha - exact.alpha)).abs().max())
