"""Where the results of an evaluation go."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..media.images import write_image
from .tables import Row, Table


def require(files: Sequence[object], kind: str) -> None:
    """Refuse to evaluate nothing.

    Raises:
        InputError: there is no file of the ``kind``.
    """
    if not files:
        raise InputError(f"No {kind} was given to evaluate; name at least one.")


class Sheets:
    """Contact sheets in a folder named after the report, written as they come.

    Raises:
        InputError: the folder cannot be made: better at the start than after an hour of work.
    """

    def __init__(self, report: str | os.PathLike[str] | None) -> None:
        """Make the folder; without a report nothing is written."""
        self.folder = None if report is None else Path(report).with_name(Path(report).stem + "_sheets")
        if self.folder is None:
            return
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"Cannot make the folder {self.folder} for contact sheets: {error.strerror}.") from error

    def add(self, name: str, sheet: Float[Tensor, "3 height width"] | None) -> None:
        """Write one sheet as ``name``.png."""
        if self.folder is not None and sheet is not None:
            write_image(self.folder / f"{name}.png", sheet)


def write_report(table: Table, report: str | os.PathLike[str] | None, summary: Row) -> None:
    """Write a table and its summary; without a report do nothing."""
    if report is not None:
        table.write(report, summary=summary)
