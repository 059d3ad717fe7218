"""``train deform`` and ``train gaussians``: what moves the points, and what makes Gaussians of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import progress_bar, say

_LOOP = ("output", "steps", "minutes", "batch", "rate", "precision", "workers", "seed", "judge_minutes", "resume")
ABLATED = (
    "refinement", "symmetry", "voxel-filter", "pointcloud-input", "symmetric-decoder", "gaussians-in-symmetric",
    "densify",
)  # fmt: skip
"""What can be left out; named here because to import it takes as long as the parser may."""


def add_stages(stages: argparse._SubParsersAction) -> None:
    """Declare both stages."""
    deform = stages.add_parser("deform", help="train the deformation on rendered heads")
    deform.add_argument("--heads", type=Path, required=True, metavar="DIR", help="rendered heads")
    deform.add_argument("--val", type=Path, metavar="DIR", help="other heads, to judge by")
    deform.add_argument("--data", type=Path, metavar="DIR", help="folder that holds ict_facekit.npz, to draw heads")
    deform.add_argument("--draw", type=int, default=0, metavar="N", help="draw N heads first")
    deform.add_argument("--draw-val", type=int, default=0, metavar="N", help="draw N heads to judge by")
    deform.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that draw (default: 1)")
    _add_loop(deform, batch=16, rate=1e-3)
    deform.set_defaults(run=run_deform)
    gaussians = stages.add_parser("gaussians", help="train the networks that make Gaussians")
    gaussians.add_argument("--pairs", type=Path, required=True, metavar="DIR", help="made by train prepare")
    gaussians.add_argument("--val", type=Path, metavar="DIR", help="pairs of other people, to judge by")
    gaussians.add_argument("--deform", type=Path, metavar="WEIGHTS", help="trained deformation that moves the points")
    gaussians.add_argument("--size", type=int, default=512, choices=(64, 128, 256, 512), help="edge of the pictures")
    gaussians.add_argument(
        "--window", type=int, metavar="PIXELS", help="compare a part of the picture in each step (default: all of it)"
    )
    gaussians.add_argument(
        "--perceptual", type=float, default=0.01, metavar="WEIGHT", help="weight of the LPIPS terms (default: 0.01)"
    )
    gaussians.add_argument("--without", choices=ABLATED, help="leave one thing out, as Table 3 of the paper")
    gaussians.add_argument("--symmetry-in", default="dsgr", choices=("dsgr", "sgp"), help="where points are mirrored")
    _add_loop(gaussians, batch=1, rate=2e-4)
    gaussians.set_defaults(run=run_gaussians)


def _add_loop(stage: argparse.ArgumentParser, batch: int, rate: float) -> None:
    stage.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    stage.add_argument("--config", default="embedded", choices=("embedded", "paper"), help="sizes of the networks")
    stage.add_argument("--steps", type=int, metavar="N", help="end after N steps")
    stage.add_argument("--minutes", type=float, metavar="M", help="end after M minutes")
    stage.add_argument("--batch", type=int, default=batch, metavar="N", help=f"examples per step (default: {batch})")
    stage.add_argument("--rate", type=float, default=rate, help=f"learning rate (default: {rate})")
    stage.add_argument("--precision", default="no", choices=("no", "bf16", "fp16"), help="mixed precision")
    stage.add_argument("--workers", type=int, default=0, metavar="N", help="processes that make examples")
    stage.add_argument("--seed", type=int, default=0)
    stage.add_argument("--judge-minutes", type=float, default=10.0, metavar="M", help="judge every M minutes")
    stage.add_argument("--resume", action="store_true", help="go on with the training in the folder")


def run_deform(arguments: argparse.Namespace) -> int:
    """Draw the heads that are asked for, train, and say where the weights are."""
    from ..training.deform import train_deform
    from ..training.stage import LoopOptions

    _draw(arguments)
    options = LoopOptions(**{name: getattr(arguments, name) for name in _LOOP})
    with progress_bar("train deform", unit="step") as on_step:
        train_deform(arguments.heads, arguments.val, options, config=arguments.config, on_step=on_step)
    say(str(arguments.output / "weights.safetensors"))
    return 0


def _draw(arguments: argparse.Namespace) -> None:
    from ..errors import InputError
    from ..training.deform_data import prepare_deformations
    from ..training.refine_data import LAST_SEED

    wanted = ((arguments.heads, arguments.draw, 0), (arguments.val, arguments.draw_val, LAST_SEED + 1))
    for folder, count, first in wanted:
        if not count:
            continue
        if folder is None or arguments.data is None:
            raise InputError("To draw heads, give --data, and --val for those to judge by.")
        with progress_bar("draw heads", unit="head") as on_step:
            there = prepare_deformations(
                arguments.data, folder, count, first=first, jobs=arguments.jobs, on_step=on_step
            )
        say(f"{there} heads in {folder}")


def run_gaussians(arguments: argparse.Namespace) -> int:
    """Train, and say where the weights are."""
    from dataclasses import replace

    from ..gaussians.networks.config import ABLATIONS, Switches
    from ..training.gaussians import train_gaussians
    from ..training.stage import LoopOptions

    switches = ABLATIONS.get(arguments.without or "", Switches())
    options = LoopOptions(**{name: getattr(arguments, name) for name in _LOOP})
    with progress_bar("train gaussians", unit="step") as on_step:
        train_gaussians(
            arguments.pairs, arguments.val, options, config=arguments.config, deform=arguments.deform,
            switches=replace(switches, symmetry_in=arguments.symmetry_in), size=arguments.size,
            window=arguments.window, perceptual=arguments.perceptual, on_step=on_step,
        )  # fmt: skip
    say(str(arguments.output / "weights.safetensors"))
    return 0
