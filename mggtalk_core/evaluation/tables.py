"""Tables of results: one row per clip, means below, as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..media.atomic import replacing

Row = dict[str, Any]


@dataclass(frozen=True)
class Mean:
    """The mean of one column and the number of rows it is taken over."""

    value: float
    n: int


@dataclass
class Table:
    """Rows of named values; a value may be missing, None or NaN in some of them."""

    title: str
    settings: Row = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    averaged: bool = True
    """False where the rows are no samples of one thing: then no line of means ends the Markdown."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns in the order in which they first appear."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def mean(self, column: str, where: Callable[[Row], bool] = lambda row: True) -> Mean:
        """Return the mean of the finite values of a column, over the rows that meet ``where``; NaN if there is none."""
        values = [float(row[column]) for row in self.rows if where(row) and _is_number(row.get(column))]
        return Mean(sum(values) / len(values) if values else math.nan, len(values))

    def means(self) -> dict[str, Mean]:
        """Return the mean of every column that holds numbers."""
        found = {column: self.mean(column) for column in self.columns}
        return {column: mean for column, mean in found.items() if mean.n}

    def turned(self) -> Table:
        """Return the table with a row per column and a column per row, named by the first column."""
        head, *names = self.columns
        rows = [{head: name, **{str(row[head]): row.get(name) for row in self.rows}} for name in names]
        return Table(self.title, self.settings, rows, averaged=False)

    def to_json(self, **more: Any) -> str:
        """Return everything as JSON, with ``more`` beside it; values that are not finite become null."""
        means = {column: {"value": mean.value, "n": mean.n} for column, mean in self.means().items()}
        content = {"title": self.title, "settings": self.settings, "rows": self.rows, "means": means, **more}
        return json.dumps(_finite(content), indent=2, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """Return the rows as CSV; what is missing or not finite is left empty."""
        out = io.StringIO()
        writer = csv.DictWriter(out, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_finite(self.rows))
        return out.getvalue()

    def to_markdown(self) -> str:
        """Return the rows, and a last row of means where they are `averaged`, as a Markdown table."""
        columns = self.columns
        lines = [f"# {self.title}", "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        lines += ["| " + " | ".join(_cell(row.get(name)) for name in columns) + " |" for row in self.rows]
        if not self.averaged:
            return "\n".join(lines) + "\n"
        means = self.means()
        cells = [f"{_cell(means[name].value)} (n={means[name].n})" if name in means else "" for name in columns]
        if cells:
            cells[0] = cells[0] or "mean"
        return "\n".join([*lines, "| " + " | ".join(cells) + " |"]) + "\n"

    def write(self, report: str | os.PathLike[str], **more: Any) -> list[Path]:
        """Write the JSON to ``report``, CSV and Markdown beside it under the same name; returns the three paths.

        Raises:
            InputError: the files cannot be written.
        """
        report = Path(report)
        texts = {
            report: self.to_json(**more),
            report.with_suffix(".csv"): self.to_csv(),
            report.with_suffix(".md"): self.to_markdown(),
        }
        for path, text in texts.items():
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return list(texts)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _finite(value: Any) -> Any:
    """Replace numbers that are not finite by None, for neither JSON nor CSV knows them."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else ""
    return "" if value is None else str(value).replace("|", "/").replace("\n", " ")
