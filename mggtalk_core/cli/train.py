"""``train``: make what the package ships."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import say


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser("train", help="make the head model")
    stages = parser.add_subparsers(dest="stage", required=True)
    head = stages.add_parser("head", help="make the head model from ICT-FaceKit's raw data")
    head.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder that holds ict_facekit.npz")
    head.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.safetensors")
    head.set_defaults(run=run_head)


def run_head(arguments: argparse.Namespace) -> int:
    """Make the head model and say where it is."""
    from ..training.head_model import make_head_model

    make_head_model(arguments.data, arguments.output)
    say(str(arguments.output))
    return 0
