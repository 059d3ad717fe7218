"""Seconds per stage of the whole pipeline."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..animate import Job, prepare, write_clip
from ..clock import StageClock, peak_memory_mb
from ..motion.timing import extend
from ..parallel import worker_count
from ..pipeline import Head, Settings, drive, reconstruct
from ..progress import OnStep, ignore_steps


def benchmark_pipeline(
    portrait: Path, audio: Path, frames: int = 100, repeats: int = 3, on_step: OnStep = ignore_steps
) -> dict[str, Any]:
    """Time the building of an avatar and the frames of a clip, each stage by itself.

    Weights are loaded and kernels compiled before anything is timed. Stages of frames add up the seconds of all
    workers; ``frame_ms`` is wall-clock time for the finished clip over its frames.

    Args:
        portrait: A picture of a face.
        audio: Sound that drives it.
        frames: Length of the clip.
        repeats: How often the avatar is built; the median counts.
        on_step: Progress.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = Job(portrait, Path(folder) / "clip.mp4", audio=audio, framing="crop")
        head, motion = prepare(job, StageClock())
        sequence = drive(head, replace(extend(motion, frames, "mirror"), sound=None), job.settings)
        write_clip(replace(job, output=Path(folder) / "warm.mp4"), head, sequence, StageClock(), ignore_steps)
        build = _build_times(head, repeats)
        clock = StageClock()
        start = time.perf_counter()
        written = write_clip(job, head, sequence, clock, on_step)
        wall = time.perf_counter() - start
    return {
        "cores": os.cpu_count(),
        "workers": worker_count(),
        "gaussians": len(head.still.avatar.colours),
        "avatar_seconds": build,
        "avatar_seconds_total": round(sum(build.values()), 3),
        "frames": written,
        "frame_ms": round(1000.0 * wall / written, 1),
        "frame_ms_by_stage": {stage: round(1000.0 * s / written, 1) for stage, s in clock.seconds.items()},
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }


def _build_times(head: Head, repeats: int) -> dict[str, float]:
    """Return the median seconds of every stage of reconstruction."""
    clocks = [StageClock() for _ in range(repeats)]
    for clock in clocks:
        reconstruct(head.portrait.source, Settings(), clock=clock)
    return {stage: round(statistics.median(c.seconds[stage] for c in clocks), 3) for stage in clocks[0].seconds}
