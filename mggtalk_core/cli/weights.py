"""``weights``: list and fetch the files that the stages use."""

from __future__ import annotations

import argparse
import contextlib

from ..weights.resolver import fetch, list_weights
from .console import progress_bar, say


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser("weights", help="list or fetch weight files")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="every weight file, its licence and where it is").set_defaults(run=run_list)
    one = actions.add_parser("fetch", help="fetch weight files")
    one.add_argument("names", nargs="*", metavar="NAME", help="default: what the pipeline needs")
    one.set_defaults(run=run_fetch)


def run_list(arguments: argparse.Namespace) -> int:
    """Write a line per weight file."""
    for status in list_weights():
        row = status.weight
        where = str(status.path) if status.path else "not here"
        say(f"{row.name}  {row.licence}  {where}")
    return 0


def run_fetch(arguments: argparse.Namespace) -> int:
    """Fetch the named files and say where they are."""
    with contextlib.ExitStack() as bars:
        for path in fetch(arguments.names, on_file=lambda name: bars.enter_context(progress_bar(name, unit="B"))):
            say(str(path))
    return 0
