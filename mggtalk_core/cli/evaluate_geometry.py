"""``evaluate geometry``: every way to make the head's geometry, against shapes that are known."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..media.atomic import check_outputs
from .console import progress_bar, say


def add_geometry(kinds: argparse._SubParsersAction) -> None:
    """Declare the kind."""
    parser = kinds.add_parser("geometry", help="depth, normals, integration and the mirrored half, on known shapes")
    parser.add_argument("--objects", type=Path, metavar="DIR", help="DiLiGenT: integrate measured normals")
    parser.add_argument("--heads", type=Path, metavar="DIR", help="ICT-FaceKit's raw data: render heads of known shape")
    parser.add_argument("--count", type=int, default=8, metavar="N", help="heads to render (default: 8)")
    parser.add_argument("--samples", type=Path, metavar="DIR", help="NAME.npz with predicted depth and normal")
    parser.add_argument("--report", type=Path, metavar="OUT.json", help="write tables and figures here")
    parser.set_defaults(run=run_geometry)


def run_geometry(arguments: argparse.Namespace) -> int:
    """Evaluate the geometry; what is printed are the means."""
    from ..evaluation.geometry import evaluate_geometry
    from ..geometry.refine import refined_fit

    check_outputs((arguments.report,))
    with progress_bar("steps", unit="step") as on_step:
        tables = evaluate_geometry(
            arguments.report,
            objects=arguments.objects,
            heads=arguments.heads,
            count=arguments.count,
            samples=arguments.samples,
            refine=refined_fit,
            on_step=on_step,
        )
    for name, table in tables.items():
        if "every" not in name and table.rows:
            say(table.to_markdown().rstrip())
    return 0
