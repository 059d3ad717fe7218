"""``train refine``: the geometry refinement, from heads that are drawn first."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import progress_bar, say

_CONFIGS = ("embedded", "geometry", "paper")


def add_stage(stages: argparse._SubParsersAction) -> None:
    """Declare the stage."""
    refine = stages.add_parser("refine", help="train the geometry refinement on rendered heads")
    refine.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder that holds ict_facekit.npz")
    refine.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    refine.add_argument("--heads", type=int, default=1200, metavar="N", help="heads to draw (default: 1200)")
    refine.add_argument("--val", type=int, default=100, metavar="N", help="more heads, to judge by (default: 100)")
    refine.add_argument(
        "--config", default="embedded", choices=_CONFIGS,
        help="sizes of the network; geometry: embedded, without the picture (default: embedded)",
    )  # fmt: skip
    refine.add_argument("--steps", type=int, metavar="N", help="end after N steps")
    refine.add_argument("--minutes", type=float, metavar="M", help="end after M minutes")
    refine.add_argument("--batch", type=int, default=8, metavar="N", help="heads per step (default: 8)")
    refine.add_argument("--rate", type=float, default=2e-3, help="learning rate (default: 0.002)")
    refine.add_argument("--precision", default="no", choices=("no", "bf16", "fp16"), help="mixed precision")
    refine.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that draw (default: 1)")
    refine.add_argument("--seed", type=int, default=0)
    refine.add_argument("--judge-minutes", type=float, default=5.0, metavar="M", help="judge every M minutes")
    refine.add_argument("--resume", action="store_true", help="go on with the training in the folder")
    refine.set_defaults(run=run_refine)


def run_refine(arguments: argparse.Namespace) -> int:
    """Draw the heads that are not there yet, train, and say where the weights are."""
    from ..geometry.refine_net import CONFIGS
    from ..training.refine import train_refine
    from ..training.refine_data import FIRST_VAL, prepare_heads
    from ..training.stage import LoopOptions

    names = ("output", "steps", "minutes", "batch", "rate", "precision", "seed", "judge_minutes", "resume")
    options = LoopOptions(**{name: getattr(arguments, name) for name in names}, average=0.99)
    heads, val = arguments.output / "heads", arguments.output / "val"
    with progress_bar("draw heads", unit="head") as on_step:
        prepare_heads(arguments.data, heads, arguments.heads, jobs=arguments.jobs, on_step=on_step)
    with progress_bar("draw heads to judge by", unit="head") as on_step:
        prepare_heads(arguments.data, val, arguments.val, first=FIRST_VAL, jobs=arguments.jobs, on_step=on_step)
    with progress_bar("train refine", unit="step") as on_step:
        train_refine(heads, val, options, config=CONFIGS[arguments.config], on_step=on_step)
    say(str(arguments.output / "weights.safetensors"))
    return 0
