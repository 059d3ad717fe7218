"""How far the whole's network may go: it mends a head that is a little out of place, and should not paint another.

Where a turn shows what the source does not, the network's best guess is a mixture of skin and background. A mixture
has the smallest error, and looks like a hole.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

INSIDE, ELSEWHERE = 0.08, 0.25
"""Largest change of a colour well inside the head, and everywhere else; changes of single pixels do not count."""
SOLID = 0.95
"""Coverage of what is inside."""
CELL = 4
"""Pixels along an edge of the squares that the change is averaged over."""
RIM = 3
"""Squares along an edge of the window by which the inside keeps off the silhouette."""


def bounded(
    change: Float[np.ndarray, "512 512 3"], cover: Float[np.ndarray, "512 512"]
) -> Float[np.ndarray, "512 512 3"]:
    """Return a change that keeps within bounds everywhere; ``cover`` is the head's coverage, 0..1."""
    import cv2

    size = change.shape[0] // CELL, change.shape[1] // CELL
    largest = np.abs(cv2.resize(change, size[::-1], interpolation=cv2.INTER_AREA)).max(axis=2)
    solid = (cv2.resize(cover, size[::-1], interpolation=cv2.INTER_AREA) > SOLID).astype(np.float32)
    inside = cv2.blur(cv2.erode(solid, np.ones((RIM, RIM), np.uint8)), (RIM, RIM))
    bound = ELSEWHERE + (INSIDE - ELSEWHERE) * inside
    share = np.minimum(1.0, bound / np.maximum(largest, 1e-6))
    if share.min() == 1.0:  # most frames of a head that hardly turns
        return change
    return change * cv2.resize(share, change.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
