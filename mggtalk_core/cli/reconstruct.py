"""``reconstruct``: a portrait becomes a file of Gaussians."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..clock import StageClock, peak_memory_mb
from ..gaussians.files import check_ending, write_gaussians
from ..media.atomic import check_outputs
from ..media.images import read_image
from ..pipeline import reconstruct
from ..weights.policy import using_policy
from ..weights.resolver import used_weights
from .console import progress_bar, say, write_json
from .options import add_settings, settings_of


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser("reconstruct", help="turn a portrait into Gaussians for other viewers")
    parser.add_argument("--portrait", type=Path, required=True, metavar="IMG")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="HEAD.ply|HEAD.spz|HEAD.safetensors")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Reconstruct and say where the file is."""
    check_ending(arguments.output)
    check_outputs((arguments.output, arguments.report), (arguments.portrait,))
    clock = StageClock()
    with using_policy(commercial_safe=arguments.commercial_safe), progress_bar("stages", unit="stage") as on_step:
        head = reconstruct(read_image(arguments.portrait), settings_of(arguments), clock=clock, on_step=on_step)
        gaussians = head.still.frame(0)
        write_gaussians(arguments.output, gaussians)
    result = {
        "output": str(arguments.output),
        "gaussians": len(gaussians),
        "seconds": clock.seconds,
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "weights": [{"name": row.name, "licence": row.licence} for row in used_weights()],
    }
    write_json(arguments.report, result)
    say(f"{len(gaussians)} Gaussians")
    say(str(arguments.output))
    return 0
