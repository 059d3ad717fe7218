"""Scores of an opening that was made from sound against the opening of the real mouth.

Curves hold one value per frame, the gap between the inner lips over the eye distance; frames in which no face was seen
are NaN in the truth.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from .audio_transcripts import BILABIALS, OPEN_VOWELS, SpokenSound
from .tables import Row

Curve = Float[np.ndarray, "T"]

CLOSED = 0.03
"""Gap between the inner lips, over the eye distance, up to which lips count as closed."""
LARGEST_LAG = 0.4
"""Seconds within which a lag between sound and picture is looked for."""
DOUBT = 0.8
"""Correlation that must be gained for each second by which a sound is moved: most clips are in step. From
0.7 to 1.1 the offsets of 49 clips come out alike but for one."""
SETTLING = 0.2
"""Seconds after the beginning of a silence in which the mouth may still close."""
TOLERANCE = 0.04
"""Seconds by which a closure may be early or late."""
_LEAST_SILENCE = 0.4


def correlation(curve: Curve, truth: Curve) -> float:
    """Return Pearson's correlation where both are known; NaN where one does not move or has under three points."""
    count = min(len(curve), len(truth))
    curve, truth = curve[:count], truth[:count]
    known = np.isfinite(curve) & np.isfinite(truth)
    if known.sum() < 3:
        return math.nan
    x, y = curve[known] - curve[known].mean(), truth[known] - truth[known].mean()
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / size if size > 1e-9 else math.nan


def moved(curve: Curve, frames: int) -> Curve:
    """Return a curve that comes ``frames`` frames later (negative: earlier); what is not known is NaN."""
    result = np.full(len(curve), math.nan)
    if abs(frames) < len(curve):
        result[max(0, frames) : len(curve) + min(0, frames)] = curve[max(0, -frames) : len(curve) - max(0, frames)]
    return result


def best_lag(curve: Curve, truth: Curve, fps: float) -> tuple[int, float]:
    """Return by how many frames a curve is late at its highest correlation within `LARGEST_LAG`, and that one.

    Positive: the curve follows the truth. (0, NaN) where there is no correlation.
    """
    lags, values = _correlations(curve, truth, fps)
    if not np.isfinite(values).any():
        return 0, math.nan
    best = int(np.nanargmax(values))
    return int(lags[best]), float(values[best])


def estimated_offset(curve: Curve, truth: Curve, fps: float) -> float:
    """Return by how many seconds a clip's sound comes late, from a curve of the sound.

    That is the lag with the highest correlation less `DOUBT` for each second of it; 0 where there is no correlation.
    """
    lags, values = _correlations(curve, truth, fps)
    judged = values - DOUBT * np.abs(lags) / fps
    return float(lags[int(np.nanargmax(judged))]) / fps if np.isfinite(judged).any() else 0.0


def _correlations(curve: Curve, truth: Curve, fps: float) -> tuple[Int[np.ndarray, "L"], Float[np.ndarray, "L"]]:
    """Return the lags in frames within `LARGEST_LAG`, the smallest first, and the correlation at each."""
    reach = round(LARGEST_LAG * fps)
    lags = np.array(sorted(range(-reach, reach + 1), key=abs))
    return lags, np.array([correlation(moved(curve, -lag), truth) for lag in lags])


def spoken_scores(curve: Curve, fps: float, sounds: list[SpokenSound]) -> Row:
    """Return on how many of the bilabials and of the open vowels the lips are closed.

    A bilabial is closed where the smallest opening from `TOLERANCE` before its beginning to as long after its end is;
    an open vowel counts as closed where its median opening is.
    """
    grid = np.arange(len(curve)) / fps
    lips = [_between(curve, grid, s.start - TOLERANCE, s.end + TOLERANCE).min() for s in sounds if s.name in BILABIALS]
    vowels = [np.median(_between(curve, grid, s.start, s.end)) for s in sounds if s.name in OPEN_VOWELS]
    return {
        "bilabials_closed": int(np.sum(np.asarray(lips) <= CLOSED)),
        "vowels_closed": int(np.sum(np.asarray(vowels) <= CLOSED)),
    }


def _between(curve: Curve, grid: Curve, start: float, end: float) -> Curve:
    """Return the curve every 10 ms of a span, so that one between two frames is seen too."""
    return np.interp(np.arange(start, end + 0.005, 0.01), grid, np.nan_to_num(curve))


def true_closures(truth: Curve, fps: float) -> list[int]:
    """Return the frames in the middle of the real mouth's closures that lie between two openings of it."""
    shut = np.nan_to_num(truth, nan=1.0) <= CLOSED
    edges = np.flatnonzero(np.diff(np.concatenate(([False], shut, [False])).astype(int)))
    spans = zip(edges[::2], edges[1::2], strict=True)
    longest = 0.3 * fps  # longer ones are pauses
    return [int(a + b - 1) // 2 for a, b in spans if a > 0 and b < len(truth) and b - a <= longest]


def closure_scores(curve: Curve, truth: Curve, fps: float) -> Row:
    """Return at how many of the real mouth's short closures the curve closes, and in what share of its wide openings.

    ``wide_closed``: share of the frames in which the real mouth is open wider than in three quarters of the others,
    and in which the curve is closed; small is good.
    """
    reach = max(1, round(TOLERANCE * fps))
    count = min(len(curve), len(truth))
    curve, truth = curve[:count], truth[:count]
    hits = sum(curve[max(0, frame - reach) : frame + reach + 1].min() <= CLOSED for frame in true_closures(truth, fps))
    wide = truth > max(np.nanpercentile(truth, 75), 2.0 * CLOSED) if np.isfinite(truth).any() else truth > 1.0
    return {
        "closures_met": int(hits),
        "wide_closed": float((curve[wide] <= CLOSED).mean()) if wide.any() else math.nan,
    }


def quiet_frames(level: Curve) -> Bool[np.ndarray, "T"]:
    """Return the frames whose level (dB) lies 25 dB below the loud parts, or below -60."""
    return level < max(np.percentile(level, 95) - 25.0, -60.0)


def unspoken_frames(sounds: list[SpokenSound], frames: int, fps: float) -> Bool[np.ndarray, "T"]:
    """Return the frames in which nothing of a transcript is said."""
    times = np.arange(frames) / fps
    return ~np.any([(times >= s.start) & (times < s.end) for s in sounds if s.name != "SIL"], axis=0)


def settled(quiet: Bool[np.ndarray, "T"], fps: float) -> Bool[np.ndarray, "T"]:
    """Return the frames of silences of at least 0.4 s, from `SETTLING` after the beginning to 0.1 s before the end."""
    result = np.zeros(len(quiet), bool)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], quiet, [False])).astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start >= _LEAST_SILENCE * fps:
            result[start + round(SETTLING * fps) : max(start, end - round(0.1 * fps))] = True
    return result


def silence_scores(curve: Curve, silent: Bool[np.ndarray, "T"]) -> Row:
    """Return the mean opening in silence, and the share of its frames in which the lips are closed."""
    values = curve[: len(silent)][silent[: len(curve)]]
    values = values[np.isfinite(values)]
    if not len(values):
        return {"silence_opening": math.nan, "silence_closed": math.nan}
    return {"silence_opening": float(values.mean()), "silence_closed": float((values <= CLOSED).mean())}
