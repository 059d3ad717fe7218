"""A matte mended by hand: replaced, grown or softened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .warp import warp

REACH = 64
"""Pixels of the crop up to which a matte can be grown, shrunk or softened: beyond, it is another matte."""


@dataclass(frozen=True)
class MatteEdit:
    """What the user changes about the head matte."""

    grow: int = 0
    """Pixels of the crop that the edge moves outwards; inwards where negative."""
    soften: float = 0.0
    """Standard deviation of the blur of the edge, pixels of the crop."""
    mask: Float[Tensor, "height width"] | None = None
    """The user's own matte on the pixels of the source picture, 0..1; in place of the one that was found."""


def edited(matte: np.ndarray, edit: MatteEdit, to_crop: np.ndarray, picture: tuple[int, int]) -> np.ndarray:
    """Return the matte [S,S] as the user wants it.

    Args:
        matte: the one that was found.
        edit: what to change.
        to_crop: affine map [2,3] from pixels of the picture to those of the crop.
        picture: height and width of the picture.

    Raises:
        InputError: a mask that is empty or not of the picture's size, or a change beyond `REACH`.
    """
    import cv2

    if not (abs(edit.grow) <= REACH and 0.0 <= edit.soften <= REACH):
        raise InputError(f"The matte can be grown or softened by {REACH} pixels at most.")
    if edit.mask is not None:
        matte = _own(edit.mask, to_crop, matte.shape[0], picture)
    if edit.grow:
        size = 2 * abs(edit.grow) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        matte = (cv2.dilate if edit.grow > 0 else cv2.erode)(matte, kernel)
    if edit.soften:
        matte = cv2.GaussianBlur(matte, (0, 0), edit.soften)
    return matte


def _own(mask: Float[Tensor, "height width"], to_crop: np.ndarray, size: int, picture: tuple[int, int]) -> np.ndarray:
    if tuple(mask.shape) != picture:
        raise InputError(f"The head mask is {tuple(mask.shape)} but the picture {picture}: give one of the same size.")
    pixels = np.ascontiguousarray(mask.float().cpu().numpy())
    own = np.clip(warp(pixels, to_crop, (size, size), smooth=True), 0.0, 1.0).astype(np.float32)
    if own.max() < 0.5:
        raise InputError("The head mask is empty where the head is: paint the head white, or leave the mask out.")
    return own
