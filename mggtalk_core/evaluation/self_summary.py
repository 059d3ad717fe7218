"""What a table of self-reenactment says: the figures by which the system is judged, and the ways side by side."""

from __future__ import annotations

import math

from .observe import MOVING_MOUTH, MOVING_MOUTH_MEAN, moving_mouth_mean
from .tables import Row, Table

WAYS = {"driven": "", "analytic": "_analytic", "copy": "_copy", "ghost": "_ghost", "blurred": "_blurred"}
"""Ways to make the frames, and what their scores end in."""
SHOWN = (
    "psnr_whole", "psnr_head", "psnr_face", "psnr_eyes", "psnr_mouth", "ssim_whole", "ssim_head", "ssim_face",
    "lpips_whole", "lpips_head", "lpips_face", "sharpness_head", "identity", "seam_border", "seam_neck",
    "landmark_error", "eye_error", "eye_correlation", "mouth_error", "mouth_correlation", "aed_arkit52",
    "apd_landmarker", "jitter", "still_change",
)  # fmt: skip
_OF_THE_TRUTH = {
    "jitter": "jitter_driver", "still_change": "still_change_truth", "sharpness_head": 1.0, "identity": 1.0,
}  # fmt: skip
MOVING = 10.0
"""Landmark error of the copy, in percent of the eye distance, from which a clip's head really moves."""
BLINKING = "eye_correlation where eyes blink"


def summary(table: Table) -> Row:
    """Return the figures by which the system is judged, each with its number of clips, and FID where it was measured.

    Correlations of openings are taken over the clips in which eyes blink and mouths move.
    """
    names = ("landmark_error", "eye_correlation", "psnr_whole", "psnr_head", "psnr_face")
    means = {MOVING_MOUTH_MEAN: moving_mouth_mean(table), **{name: table.mean(name) for name in names}}
    means[BLINKING] = table.mean("eye_correlation", _blinks)
    return {
        **{name: {"value": mean.value, "n": mean.n} for name, mean in means.items()},
        f"lowest {BLINKING}": {"value": lowest_of(table, "eye_correlation"), "n": means[BLINKING].n},
        "clips whose head moves, psnr_whole better than the copy": _moving_wins(table),
        **{f"clips better than the {rival}, {name}": _wins(table, name, rival) for rival, name in _duels(table)},
        **table.settings.get("fid", {}),
    }


def ways_table(table: Table) -> Table:
    """Return a table with one row per way, each the mean over the clips, and a row for what the truth itself has.

    Correlations of openings are taken over the clips in which eyes blink and mouths move.
    """
    ways = Table("Ways to make the frames", {"clips": len(table.rows)}, averaged=False)
    for way, suffix in WAYS.items():
        row: Row = {"way": way}
        for name in SHOWN:
            mean = table.mean(name + suffix, _WHERE.get(name, lambda row: True))
            row |= {name: mean.value} if mean.n else {}
        distance = table.settings.get("fid", {}).get("fid" + suffix)
        row |= {} if distance is None else {"fid": distance["value"]}
        if len(row) > 1:
            ways.rows.append(row)
    known = {name: source for name, source in _OF_THE_TRUTH.items() if name in ways.columns}
    truth = {name: table.mean(each).value if isinstance(each, str) else each for name, each in known.items()}
    ways.rows.append({"way": "truth", **truth})
    return ways


def lowest_of(table: Table, name: str) -> float:
    """Return the least value of a column over the clips in which eyes blink; NaN if there is none."""
    values = [row[name] for row in table.rows if _blinks(row) and math.isfinite(row.get(name, math.nan))]
    return min(values, default=math.nan)


def _blinks(row: Row) -> bool:
    return row.get("blink_frames", 0) > 0


def _mouth_moves(row: Row) -> bool:
    return row.get("mouth_movement", 0.0) >= MOVING_MOUTH


_WHERE = {"eye_correlation": _blinks, "mouth_correlation": _mouth_moves}


def _duels(table: Table) -> list[tuple[str, str]]:
    kinds = ("psnr_whole", "psnr_head", "psnr_face", "ssim_whole", "ssim_head", "ssim_face")
    rivals = [rival for rival in ("copy", "analytic") if f"psnr_whole_{rival}" in table.columns]
    return [(rival, kind) for rival in rivals or ("copy",) for kind in kinds]


def _wins(table: Table, name: str, rival: str) -> int:
    return sum(row.get(name, 0.0) > row.get(f"{name}_{rival}", math.inf) for row in table.rows)


def _moving_wins(table: Table) -> Row:
    moving = [row for row in table.rows if row.get("landmark_error_copy", 0.0) >= MOVING]
    won = sum(row["psnr_whole"] > row["psnr_whole_copy"] for row in moving)
    return {"value": won / len(moving) if moving else math.nan, "n": len(moving)}
