"""``benchmark``: how fast this machine is."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..media.atomic import check_outputs
from ..media.samples import SPEECH, sample_portrait
from .console import progress_bar, say, write_json


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser("benchmark", help="measure speed on this machine")
    kinds = parser.add_subparsers(dest="kind", required=True)
    pipeline = kinds.add_parser("pipeline", help="the whole pipeline, stage by stage")
    pipeline.add_argument("--portrait", type=Path, metavar="IMG", help="default: scikit-image's astronaut")
    pipeline.add_argument("--audio", type=Path, default=SPEECH, metavar="SOUND")
    pipeline.add_argument("--frames", type=int, default=100)
    pipeline.set_defaults(run=run_pipeline)
    render = kinds.add_parser("render", help="the rasteriser")
    render.add_argument("--plot", type=Path, metavar="OUT.png", help="draw the times as a picture")
    render.add_argument("--comfyui", type=Path, metavar="FOLDER", help="compare with the RenderSplat of this ComfyUI")
    render.add_argument("--comfyui-python", metavar="PYTHON", help="the Python that runs it; default: this one")
    render.set_defaults(run=run_render)
    bini = kinds.add_parser("bini", help="bilateral normal integration")
    bini.add_argument("--objects", type=Path, metavar="FOLDER", help="DiLiGenT's objects; default: a made-up one")
    bini.set_defaults(run=run_bini)
    for sub in (pipeline, render, bini):
        sub.add_argument("--report", type=Path, metavar="OUT.json")


def run_pipeline(arguments: argparse.Namespace) -> int:
    """Time the pipeline."""
    from ..evaluation.speed import benchmark_pipeline

    if arguments.frames < 1:
        raise InputError(f"--frames {arguments.frames} is not usable: give at least 1.")
    check_outputs((arguments.report,))
    with tempfile.TemporaryDirectory() as folder, progress_bar("frames") as on_step:
        portrait = arguments.portrait or sample_portrait(Path(folder))
        result = benchmark_pipeline(portrait, arguments.audio, arguments.frames, on_step=on_step)
    return _finish(arguments, result)


def run_render(arguments: argparse.Namespace) -> int:
    """Time the rasteriser."""
    from ..render.speed import benchmark_render
    from ..render.speed_plot import plot_speed

    check_outputs((arguments.report, arguments.plot))
    if arguments.comfyui is not None and not (arguments.comfyui / "comfy_extras").is_dir():
        raise InputError(f"{arguments.comfyui} is not a ComfyUI folder: it holds no comfy_extras.")
    with progress_bar("scenes", unit="scene") as on_step:
        result = benchmark_render(comfyui=arguments.comfyui, comfyui_python=arguments.comfyui_python, on_step=on_step)
    if arguments.plot is not None:
        plot_speed(arguments.plot, result)
    return _finish(arguments, result)


def run_bini(arguments: argparse.Namespace) -> int:
    """Time the integration of normals."""
    from ..evaluation.speed_bini import benchmark_bini

    check_outputs((arguments.report,))
    with progress_bar("objects", unit="object") as on_step:
        result = benchmark_bini(arguments.objects, on_step=on_step)
    return _finish(arguments, result)


def _finish(arguments: argparse.Namespace, result: dict[str, Any]) -> int:
    write_json(arguments.report, result)
    for name, value in result.items():
        if isinstance(value, dict):
            say(f"{name}: " + "  ".join(f"{key} {item}" for key, item in value.items()))
        elif isinstance(value, list):
            say(f"{name}:")
            for row in value:
                say("  " + (" ".join(f"{k}={v}" for k, v in row.items()) if isinstance(row, dict) else str(row)))
        else:
            say(f"{name}: {value}")
    return 0
