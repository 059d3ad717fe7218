"""How far the networks may go: they mend a head that is a little out of place, and should not paint another.

Where a turn shows what the source does not, the network's best guess is a mixture of skin and background. A mixture
has the smallest error, and looks like a hole. The same comes of what it finds in the source beside the head: a wall or
the sky, laid over a cheek; and an ear that the turn has hidden would hang as a ghost in the air.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from ...smoothstep import smoothstep

INSIDE, ELSEWHERE = 0.08, 0.25
"""Largest change of a colour well inside the head, and everywhere else; changes of single pixels do not count."""
FAR, FARTHEST = math.radians(15.0), math.radians(30.0)
"""Turns from the source's view between which the bound of the inside comes in force everywhere: a rim that the network
is unsure of grows a haze. It costs .03 dB of the head's PSNR and 1 % of its LPIPS beyond 14 degrees."""
SOLID = 0.95
"""Coverage of what is inside."""
CELL = 4
"""Pixels along an edge of the squares that the change is averaged over."""
RIM = 3
"""Squares along an edge of the window by which the inside keeps off the silhouette."""
GRAIN, GRAIN_SIZE = 0.4, 2.0
"""Share of the frame's own fine detail (finer than a Gaussian of this many pixels) that no change takes away or adds:
networks that are unsure of detail smooth it. The lids are spared: one that moves by a pixel is fine detail too."""
NEAR = math.radians(5.0)
"""Turn from the source's view up to which all that the source shows may be used anywhere; from `FAR` on head goes with
head alone, and what is beside it with what is beside it."""


def bounded(
    change: Float[np.ndarray, "512 512 3"],
    cover: Float[np.ndarray, "512 512"],
    turn: float = 0.0,
    astray: Float[np.ndarray, "128 128"] | None = None,
) -> Float[np.ndarray, "512 512 3"]:
    """Return a change that keeps within bounds everywhere.

    Args:
        change: what the network adds.
        cover: the driven head's coverage, 0..1.
        turn: of the head from the source's view, radians: the farther, the less is known of its rim.
        astray: see `led_astray`; None: nowhere.
    """
    import cv2

    tight = np.maximum(_inner(solid_cells(cover)), np.float32(smoothstep(np.float64(turn), FAR, FARTHEST)))
    share = _within(change, ELSEWHERE + (INSIDE - ELSEWHERE) * tight)
    if astray is not None:
        share *= 1.0 - astray
    if share.min() == 1.0:  # most frames of a head that hardly turns
        return change
    return cv2.multiply(change, cv2.merge([cv2.resize(share, change.shape[1::-1], interpolation=cv2.INTER_LINEAR)] * 3))


def bounded_beside(change: Float[np.ndarray, "h w 3"], lids: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Return what the eyes' network changes, free on the lids (1) and within the bounds of the inside beyond (0).

    It may draw a lid over an eye. Of brows that are raised farther than any it has learned from it would make a mist.
    """
    import cv2

    share = cv2.resize(_within(change, INSIDE), lids.shape[::-1], interpolation=cv2.INTER_LINEAR)
    held = with_grain(change * share[..., None])
    return held + (change - held) * lids[..., None]


def with_grain(change: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """Return a change that leaves `GRAIN` of the fine detail as it was."""
    import cv2

    edge = 2 * round(3.0 * GRAIN_SIZE) + 1  # beyond three standard deviations lies 0.3 % of a Gaussian
    smooth = cv2.GaussianBlur(change, (edge, edge), GRAIN_SIZE)
    return cv2.addWeighted(change, 1.0 - GRAIN, smooth, GRAIN, 0.0, dst=smooth)


def solid_cells(cover: Float[np.ndarray, "512 512"]) -> Float[np.ndarray, "128 128"]:
    """Return 1 for the squares that a head covers, 0 for the others."""
    return (_cells(cover) > SOLID).astype(np.float32)


def _covered_cells(cover: Float[np.ndarray, "512 512"]) -> Float[np.ndarray, "128 128"]:
    """Return 1 for the squares of which a head covers anything, 0 for the others."""
    return (_cells(cover) > 1.0 - SOLID).astype(np.float32)


def led_astray(
    cover: Float[np.ndarray, "512 512"],
    solid: Float[np.ndarray, "128 128"],
    flow: Float[np.ndarray, "2 h w"],
    turn: float,
) -> Float[np.ndarray, "128 128"]:
    """Return for every square how far what the network is shown there of the source is of the wrong kind, 0..1.

    That is, well inside the driven head, what lies beside the source's; and beside the driven head, the source's.

    Args:
        cover: the driven head's coverage, 0..1.
        solid: `solid_cells` of the source's matte.
        flow: where the source shows each place, relative to where it is driven: x, y in pixels of the crop.
        turn: of the head from the source's view, radians: while it is small, a rim that lies a little off is mended by
            what is beside it, and nothing counts as wrong.
    """
    import cv2

    across, down = (cv2.resize(each, solid.shape, interpolation=cv2.INTER_AREA) / CELL for each in flow)
    row, column = np.indices(solid.shape, np.float32)
    inner = _inner(solid)  # the outermost pixels of a head are mixed with what is behind them
    found = cv2.remap(inner, column + across, row + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside, beside = _inner(solid_cells(cover)), _inner(1.0 - _covered_cells(cover))
    return np.float32(smoothstep(np.float64(turn), NEAR, FAR)) * (inside * (1.0 - found) + beside * found)


def _within(
    change: Float[np.ndarray, "height width 3"], bound: float | Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Return the share of a change, for every square, that keeps it within a bound."""
    largest = np.abs(_cells(change)).max(axis=2)
    return np.minimum(np.float32(1.0), bound / np.maximum(largest, 1e-6))


def _inner(solid: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return what is solid with all that is around it, softly."""
    import cv2

    return cv2.blur(cv2.erode(solid, np.ones((RIM, RIM), np.uint8)), (RIM, RIM))


def _cells(picture: Float[np.ndarray, "height width *c"]) -> Float[np.ndarray, "h w *c"]:
    """Return the mean of every square."""
    import cv2

    return cv2.resize(picture, (picture.shape[1] // CELL, picture.shape[0] // CELL), interpolation=cv2.INTER_AREA)
