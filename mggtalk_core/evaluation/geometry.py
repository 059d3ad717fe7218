"""``evaluate geometry``: integration on measured objects, the head's stages on known shapes, predicted maps."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import InputError
from ..media.atomic import replacing
from ..progress import OnStep, ignore_steps
from .geometry_figures import fusion_figure, stages_figure
from .geometry_heads import FIRST_SEED, Refine, Subject, evaluate_heads, means_by
from .geometry_objects import evaluate_objects
from .geometry_samples import evaluate_samples
from .reports import Sheets
from .tables import Table

DRAWN_OF = 4
"""Figures are made of the turned ones among so many heads."""
READING = ("plane", "voxel", "radius", "occlusion")


def evaluate_geometry(
    report: str | os.PathLike[str] | None,
    *,
    objects: Path | None = None,
    heads: Path | None = None,
    count: int = 8,
    samples: Path | None = None,
    refine: Refine | None = None,
    on_step: OnStep = ignore_steps,
) -> dict[str, Table]:
    """Measure what folders are given for; returns the tables, those to be read first.

    Args:
        report: JSON file of all tables; each is also written beside it as CSV and Markdown, figures into a folder
            beside it. None writes nothing.
        objects: DiLiGenT's objects.
        heads: ICT-FaceKit's raw data.
        count: heads to render.
        samples: depth and normals that a network predicted.
        refine: the learned refinement that fills the stage ``P_f``.
        on_step: steps of the part at work.

    Raises:
        InputError: no folder is given, or one does not hold what it should.
    """
    if objects is None and heads is None and samples is None:
        raise InputError("Nothing to measure: give --objects, --heads or --samples.")
    sheets, tables = Sheets(report), {}
    if objects is not None:
        tables["objects"] = evaluate_objects(objects, on_step)
    if heads is not None:
        stages, filters = evaluate_heads(
            heads, count, refine=refine, on_subject=lambda subject: _draw(subject, sheets), on_step=on_step
        )
        tables["stages"] = means_by(stages, ("provider", "stage"))
        tables["filters"] = means_by(filters, READING)
        tables |= {"stages of every head": stages, "filters of every head": filters}
    if samples is not None:
        tables["samples"], pictures = evaluate_samples(samples, on_step)
        for name, picture in pictures:
            sheets.add(f"sample_{name}", picture)
    if report is not None:
        _write(Path(report), tables)
    return tables


def _draw(subject: Subject, sheets: Sheets) -> None:
    """Draw the figures of the first turned heads."""
    index = subject.seed - FIRST_SEED
    if sheets.folder is not None and subject.is_turned and index < DRAWN_OF:
        sheets.add(f"head_{index}_stages", stages_figure(subject))
        sheets.add(f"head_{index}_fusion", fusion_figure(subject))


def _write(report: Path, tables: dict[str, Table]) -> None:
    """Write every table under the report's name and its own, and all of them as JSON."""
    for name, table in tables.items():
        table.write(report.with_name(f"{report.stem}_{name.replace(' ', '_')}.json"))
    whole = {name: json.loads(table.to_json()) for name, table in tables.items()}
    with replacing(report) as temporary:
        temporary.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
