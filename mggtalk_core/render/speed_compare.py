"""The CPU rasteriser beside others, in the same run: what counts is the ratio."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..gaussians.gaussians import Gaussians
from ..gaussians.ply import to_image_axes
from ..head.camera import Camera
from .cpu.rasterizer import Rasterizer
from .reference import render_reference
from .synthetic import head_camera, head_scene


def against_reference(repeats: int, count: int = 1500, size: int = 64) -> dict[str, Any]:
    """Time forward and backward on a scene that is small enough for the dense reference."""
    scene, camera = head_scene(count), head_camera(size)
    draws = {"numba": Rasterizer(1), "reference": render_reference}
    times = {name: _best(lambda draw=draw: _both_ways(draw, scene, camera), repeats) for name, draw in draws.items()}
    return {
        "gaussians": count,
        "size": size,
        "numba_ms": round(times["numba"], 2),
        "reference_ms": round(times["reference"], 2),
        "ratio": round(times["reference"] / times["numba"], 1),
    }


def against_gsplat_torch(repeats: int, count: int = 150_000) -> dict[str, Any] | None:
    """Time gsplat's own torch functions that run on a CPU, projection and harmonics, beside our whole picture."""
    try:
        from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci, _spherical_harmonics
    except ImportError:
        return None
    g, camera = head_scene(count), head_camera(512)
    pose, (x, y) = camera.world_to_camera, camera.center
    intrinsics = torch.tensor([[camera.focal, 0.0, x], [0.0, camera.focal, y], [0.0, 0.0, 1.0]])
    eye = camera.place
    draw = Rasterizer(1)

    def project() -> None:
        covariances, _ = _quat_scale_to_covar_preci(g.quats, g.scales, True, False)
        _fully_fused_projection(g.means, covariances, pose[None], intrinsics[None], camera.width, camera.height)
        _spherical_harmonics(1, torch.nn.functional.normalize(g.means - eye, dim=1), g.sh)

    with torch.inference_mode():
        theirs, ours = _best(project, repeats), _best(lambda: draw(g, camera), repeats)
    return {
        "gaussians": count,
        "gsplat_torch_projection_ms": round(theirs, 2),
        "numba_whole_picture_ms": round(ours, 2),
        "ratio": round(theirs / ours, 1),
    }


_RENDER_SPLAT = """
import comfy.options
comfy.options.enable_args_parsing()
import json, pathlib, sys, time
import numpy as np, torch
from comfy_api.latest import Types
from comfy_extras.nodes_gaussian_splat import RenderSplat
folder = pathlib.Path(sys.argv[sys.argv.index("--output-directory") + 1])
a = {k: torch.from_numpy(v)[None] for k, v in np.load(folder / "scene.npz").items()}
splat = Types.SPLAT(a["means"], a["scales"], a["quats"], a["opacities"][..., None], a["sh"])
with torch.inference_mode():
    start = time.perf_counter()
    RenderSplat.execute(splat, 512, 512, 1, 1.0, 1.0, 0.0, 0.0, "#000000", "color")
(folder / "result.json").write_text(json.dumps(time.perf_counter() - start))
"""


def against_render_splat(comfyui: Path, python: str | None = None, count: int = 150_000) -> dict[str, Any]:
    """Time RenderSplat of a ComfyUI on its CPU path beside ours, on the same scene at 512 pixels, each one picture.

    It frames the scene itself. Raises InputError where that ComfyUI cannot run or has no RenderSplat.
    """
    scene, draw, camera = head_scene(count), Rasterizer(), head_camera(512)
    turned = to_image_axes(scene)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        np.savez(Path(folder) / "scene.npz", **{f.name: getattr(turned, f.name).numpy() for f in fields(Gaussians)})
        command = [python or sys.executable, "-c", _RENDER_SPLAT, "--cpu", "--output-directory", folder]
        try:
            run = subprocess.run(command, cwd=comfyui, capture_output=True, text=True, timeout=600, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InputError(f"Cannot run the ComfyUI in {comfyui}: {error}.") from error
        if run.returncode != 0:
            reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"The ComfyUI in {comfyui} cannot render a splat: {reason}.")
        theirs = 1e3 * json.loads((Path(folder) / "result.json").read_text())
        ours = _best(lambda: draw(scene, camera), 5)
    return {
        "gaussians": count,
        "render_splat_ms": round(theirs, 1),
        "numba_ms": round(ours, 2),
        "ratio": round(theirs / ours),
    }


def _both_ways(draw: Any, scene: Gaussians, camera: Camera) -> None:
    means = scene.means.clone().requires_grad_(True)
    draw(replace(scene, means=means), camera).rgb.sum().backward()


def _best(task: Any, repeats: int) -> float:
    """Return the least milliseconds of ``repeats`` runs after a first one."""
    task()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)
