"""Seconds of bilateral normal integration."""

from __future__ import annotations

import time
from typing import Any

import torch

from ..geometry.bini import integrate_normals

SIZES = (64, 128, 256)


def benchmark_bini() -> dict[str, Any]:
    """Time the integration of a hemisphere's normals on several grids, one row per grid."""
    return {"hemisphere": [_time(size) for size in SIZES]}


def _time(size: int) -> dict[str, Any]:
    ticks = (torch.arange(size) + 0.5) / size * 2.2 - 1.1
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    inside = x * x + y * y < 0.98
    z = -(1.0 - x * x - y * y).clamp(min=0.02).sqrt()
    normals = torch.stack((x, y, z)) * inside
    start = time.perf_counter()
    result = integrate_normals(normals, inside)
    return {
        "size": size,
        "pixels": int(inside.sum()),
        "seconds": round(time.perf_counter() - start, 3),
        "rounds": len(result.energy),
    }
