"""The command line: ``python -m mggtalk_core``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import NoReturn

from .errors import MGGTalkError

COMMANDS = ("animate", "reconstruct", "evaluate", "benchmark", "weights", "train", "demo")
USAGE_ERROR = 2
INTERRUPTED = 130
READER_GONE = 141


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, as all others are."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more, and leave with status 2."""
        self.exit(USAGE_ERROR, f"mggtalk: {_one_line(message)}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every subcommand; each lives in its own file of `mggtalk_core.cli`."""
    parser = Parser(prog="mggtalk", description="One portrait becomes a talking 3D head.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        importlib.import_module(f".cli.{name}", __package__).add_parser(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; problems that the user can mend become one line on standard error and exit status 2."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with _one_line_warnings(), _termination_as_interrupt():
        try:
            arguments = build_parser().parse_args(argv)
            return arguments.run(arguments)
        except MGGTalkError as error:
            print(f"mggtalk: {_one_line(error)}", file=sys.stderr)
            return USAGE_ERROR
        except KeyboardInterrupt:
            print("mggtalk: stopped; what was not finished is not there.", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:  # whoever read standard output has had enough, as head(1) does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return READER_GONE


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Show each warning as one line, and put Python's own way back afterwards."""

    def show(message: Warning | str, category: type[Warning], *_: object) -> None:
        print(f"mggtalk: note: {_one_line(message)}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let ``kill`` clean up as Ctrl-C does: by default it would end the process on the spot."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # only the main thread may set handlers
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
