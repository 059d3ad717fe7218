"""What a network changed in a patch, put back into the frame."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ...portrait.warp import invert, to_indices
from .patches import Place, feather

_BESIDE = 5
"""Width in pixels of the crop of the window by which the head is widened where a patch's change ends with it."""


def paste(
    change: Float[np.ndarray, "512 512 3"],
    place: Place,
    to_patch: np.ndarray,
    delta: Float[np.ndarray, "h w 3"],
    share: float,
    cover: Float[np.ndarray, "512 512"],
) -> None:
    """Put the change of a patch in place of that of the whole (``change``, changed in place), softly at its rim.

    It ends with the driven head, whose coverage is ``cover``: a patch of a turned face reaches beyond its cheek.

    What is put back is what the refinement changed, not the resampled patch: where it changed nothing, the frame keeps
    every pixel.
    """
    import cv2

    weight = feather(place) * np.float32(share)
    height, width = place.size
    corners = np.array([[0.0, 0.0, 1.0], [width, 0.0, 1.0], [0.0, height, 1.0], [width, height, 1.0]])
    back = invert(to_patch)
    spots = corners @ back.T
    x0, y0 = np.clip(np.floor(spots.min(axis=0)), 0, change.shape[1::-1]).astype(int)
    x1, y1 = np.clip(np.ceil(spots.max(axis=0)), 0, change.shape[1::-1]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    back[:, 2] -= (x0, y0)
    layers = cv2.merge([*(plane * weight for plane in cv2.split(delta)), weight])
    laid = cv2.warpAffine(layers, to_indices(back), (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR)
    on_head = cv2.dilate(cover[y0:y1, x0:x1], np.ones((_BESIDE, _BESIDE), np.uint8))
    *more, covered = cv2.split(laid)
    kept, window = 1.0 - covered * on_head, change[y0:y1, x0:x1]
    planes = zip(cv2.split(window), more, strict=True)
    window[:] = cv2.merge([plane * kept + extra * on_head for plane, extra in planes])
