"""What the ablations say: every variant beside the whole method, and beside what the paper reports."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ..evaluation.tables import Row, Table

FULL = "full"
"""Name of the variant that nothing is left out of."""
FIGURES = (
    "psnr_head", "ssim_head", "lpips_head", "lpips_face", "sharpness_head", "psnr_eyes", "psnr_mouth", "aed_arkit52",
    "apd_landmarker", "landmark_error",
    *(
        f"spread_{half}_{name}"
        for half in ("visible", "mirrored")
        for name in ("position", "rotation", "shape", "scale", "opacity", "colour")
    ),
)  # fmt: skip
COMPARED = ("psnr_head", "ssim_head", "aed_arkit52", "apd_landmarker")
"""What stands for PSNR, SSIM, AED and APD of table 3."""
PAPER = {
    FULL: (32.40, 0.786, 0.102, 0.129),
    "without-refinement": (29.98, 0.705, 0.157, 0.232),
    "without-symmetry": (31.24, 0.760, 0.112, 0.147),
    "without-voxel-filter": (29.56, 0.724, 0.148, 0.180),
    "without-pointcloud-input": (30.78, 0.776, 0.124, 0.134),
    "without-symmetric-decoder": (32.12, 0.761, 0.116, 0.151),
    "without-gaussians-in-symmetric": (31.68, 0.764, 0.109, 0.142),
    "without-densify": (30.32, 0.778, 0.138, 0.133),
}
"""Table 3 of the paper (HDTF, 512 pixels, its own AED and APD)."""


def differences_table(table: Table) -> Table:
    """Return a row per variant: means over clips and seeds, and their differences from the whole method.

    ``_seeds`` is half the range over the seeds. ``_start`` is the untrained start with the same geometry. ``_change``
    is the variant less the whole method with the same seed; ``_worse`` in how many clips its PSNR is lower. ``_paper``
    is the paper's change, and ``as_paper`` tells in which figures all the seeds move the way the paper's do.
    """
    found = Table("Differences from the whole method", table.settings, averaged=False)
    for variant in dict.fromkeys(row["variant"] for row in table.rows):
        rows = [row for row in table.rows if row["variant"] == variant]
        clips = {row["clip"] for row in rows}
        row: Row = {"variant": variant, "clips": len(clips), "seeds": len(_seeds(rows))}
        for name in FIGURES:
            if name in table.columns:
                row |= _figures(table, variant, name)
        row |= _beside_the_paper(row, table, variant)
        found.rows.append(row)
    return found


def _seeds(rows: Sequence[Row]) -> list[int]:
    return sorted({row["seed"] for row in rows if row["seed"] is not None})


def _mean(table: Table, variant: str, seed: int | None, name: str) -> float:
    return table.mean(name, lambda row: row["variant"] == variant and row["seed"] == seed).value


def _figures(table: Table, variant: str, name: str) -> Row:
    start = {f"{name}_start": _mean(table, variant, None, name)}
    seeds = _seeds([row for row in table.rows if row["variant"] == variant])
    if not seeds:
        return start
    values = [_mean(table, variant, seed, name) for seed in seeds]
    row = {name: statistics.mean(values), f"{name}_seeds": _half_range(values), **start}
    changes = changes_of(table, variant, name)
    if variant != FULL and changes:
        row |= {f"{name}_change": statistics.mean(changes), f"{name}_change_seeds": _half_range(changes)}
    return row


def changes_of(table: Table, variant: str, name: str) -> list[float]:
    """Return the differences of a figure from the whole method, one for every seed that both were trained with."""
    ours, theirs = (_seeds([row for row in table.rows if row["variant"] == each]) for each in (variant, FULL))
    return [_mean(table, variant, seed, name) - _mean(table, FULL, seed, name) for seed in ours if seed in theirs]


def _half_range(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / 2.0


def _beside_the_paper(row: Row, table: Table, variant: str) -> Row:
    if variant not in PAPER or variant == FULL or "psnr_head_change" not in row:
        return {}
    more: Row = {"psnr_head_worse": _clips_worse(table, variant)}
    verdicts = []
    for name, theirs, whole in zip(COMPARED, PAPER[variant], PAPER[FULL], strict=True):
        more[f"{name}_paper"] = theirs - whole
        signs = {change * (theirs - whole) > 0.0 for change in changes_of(table, variant, name)}
        verdicts.append(f"{name} {'yes' if signs == {True} else 'no' if signs == {False} else 'unclear'}")
    return more | {"as_paper": ", ".join(verdicts)}


def _clips_worse(table: Table, variant: str) -> int:
    """Return in how many clips the mean PSNR over the seeds is lower than that of the whole method."""

    def of(each: str, clip: str) -> float:
        trained = (row for row in table.rows if row["variant"] == each and row["clip"] == clip)
        return statistics.mean(row["psnr_head"] for row in trained if row["seed"] is not None)

    return sum(of(variant, clip) < of(FULL, clip) for clip in {row["clip"] for row in table.rows})
