"""``evaluate ablation``: the paper's table 3, trained and measured on pairs."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import progress_bar, say
from .train_gaussians import ABLATED

VARIANTS = ("full", *(f"without-{name}" for name in ABLATED), "symmetry-in-sgp")
"""What can be trained; named here because to import it takes as long as the parser may."""
_OPTIONS = ("variants", "seeds", "steps", "rate", "window", "perceptual", "config", "per_clip")
_SAID = ("variant", "seeds", "psnr_head", "psnr_head_seeds", "psnr_head_change", "lpips_head", "as_paper")


def add_ablation(kinds: argparse._SubParsersAction) -> None:
    """Declare the kind."""
    parser = kinds.add_parser("ablation", help="train the Gaussian stage with one thing left out at a time")
    parser.add_argument("--pairs", type=Path, required=True, metavar="DIR", help="pairs to learn from: train prepare")
    parser.add_argument("--val", type=Path, required=True, metavar="DIR", help="pairs of other people, to judge by")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="trainings, tables and sheets")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="N", help="trainings of each variant")
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="steps of each training (default: 300)")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (default: 0.001)")
    parser.add_argument("--window", type=int, default=192, metavar="PIXELS", help="part of the picture in a step")
    parser.add_argument("--perceptual", type=float, default=0.05, metavar="WEIGHT", help="weight of the LPIPS terms")
    parser.add_argument("--config", default="embedded", choices=("embedded", "paper"), help="sizes of the networks")
    parser.add_argument("--per-clip", type=int, default=4, metavar="N", help="targets of every source that are scored")
    parser.set_defaults(run=run_ablation)


def run_ablation(arguments: argparse.Namespace) -> int:
    """Train, score, and say how every variant differs from the whole method."""
    from ..evaluation.tables import Table
    from ..training.ablation import AblationOptions, evaluate_ablation
    from ..training.ablation_tables import differences_table

    given = {name: getattr(arguments, name) for name in _OPTIONS}
    options = AblationOptions(**{name: tuple(each) if isinstance(each, list) else each for name, each in given.items()})
    with progress_bar("train ablation", unit="step") as on_step:
        table = evaluate_ablation(arguments.pairs, arguments.val, arguments.output, options, on_step=on_step)
    found = differences_table(table)
    rows = [{name: row.get(name) for name in _SAID} for row in found.rows]
    say(Table(found.title, rows=rows, averaged=False).to_markdown().rstrip())
    return 0
