"""Own sound against other people's, and the figures over all clips."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .audio_scores import Curve, correlation
from .observe import MOVING_MOUTH
from .tables import Row, Table

SHUFFLES = 20
"""Other sounds that a clip's own is compared with."""


def shuffle_scores(curve: Curve, truth: Curve, fps: float, others: list[tuple[Curve, float]], seed: int) -> Row:
    """Return how many of `SHUFFLES` curves of other sounds fit a mouth less well than that of its own sound.

    ``others``: curves of other clips with their frames per second. Each shuffle takes one of them, in turn, from a
    seeded place on; where it ends, it begins again.
    """
    if not others:
        return {}
    rng = np.random.default_rng([seed, 30])
    own, beaten = correlation(curve, truth), 0
    for shuffle in range(SHUFFLES):
        other, rate = others[shuffle % len(others)]
        seconds = np.arange(len(truth)) / fps + rng.uniform(0.0, len(other) / rate)
        strange = correlation(np.interp(seconds * rate % len(other), np.arange(len(other)), other), truth)
        beaten += not strange >= own  # one that does not move fits nothing
    return {"shuffles": SHUFFLES, "shuffles_beaten": beaten if math.isfinite(own) else math.nan}


def summary(table: Table) -> Row:
    """Return the figures by which the system is judged, each with the number of clips, events or frames behind it."""
    moving = _moving
    figures: Row = {}
    for kind in ("wild", "grid"):
        for ending in ("", "_energy", "_phonemes"):
            mean = table.mean("correlation" + ending, lambda row, kind=kind: row.get("speech") == kind and moving(row))
            figures[f"correlation{ending}, {kind}, moving mouths"] = {"value": mean.value, "n": mean.n}
    figures["lag within one frame"] = _share(table, moving, lambda row: abs(row["lag"]) <= 1)
    figures["own sound beats all shuffles"] = _share(
        table, lambda row: moving(row) and "shuffles" in row, lambda row: row["shuffles_beaten"] == row["shuffles"]
    )
    for ending in ("", "_energy", "_phonemes", "_constant", "_truth"):
        figures[f"bilabials closed{ending}"] = _rate(table, "bilabials_closed" + ending, "bilabials")
        figures[f"open vowels closed{ending}"] = _rate(table, "vowels_closed" + ending, "vowels")
        if ending != "_truth":
            figures[f"closures met{ending}"] = _rate(table, "closures_met" + ending, "closures")
    return figures | table.settings.get("fid", {})


def _moving(row: Row) -> bool:
    return row.get("mouth_movement", 0.0) >= MOVING_MOUTH


def _share(table: Table, among: Callable[[Row], bool], good: Callable[[Row], bool]) -> Row:
    rows = [row for row in table.rows if "error" not in row and among(row)]
    return {"value": sum(map(good, rows)) / len(rows) if rows else math.nan, "n": len(rows)}


def _rate(table: Table, hits: str, events: str) -> Row:
    """Return the share of events over all clips, not the mean of the clips' shares: some have one event, some ten."""
    rows = [row for row in table.rows if row.get(events) and row.get(hits) is not None]
    count = sum(row[events] for row in rows)
    return {"value": sum(row[hits] for row in rows) / count if count else math.nan, "n": count}
