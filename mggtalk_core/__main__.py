"""The command line: ``python -m mggtalk_core``."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import warnings

from .errors import MGGTalkError

COMMANDS = ("animate", "reconstruct", "evaluate", "benchmark", "weights", "train", "demo")
USAGE_ERROR = 2
INTERRUPTED = 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every subcommand; each lives in its own file of `mggtalk_core.cli`."""
    parser = argparse.ArgumentParser(prog="mggtalk", description="One portrait becomes a talking 3D head.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        importlib.import_module(f".cli.{name}", __package__).add_parser(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; problems that the user can mend become one line on standard error and exit status 2."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    warnings.showwarning = _one_line_warning
    arguments = build_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except MGGTalkError as error:
        print(f"mggtalk: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("mggtalk: stopped; nothing was written.", file=sys.stderr)
        return INTERRUPTED


def _one_line_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    print(f"mggtalk: note: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
