"""What a picture shows between the lips: the upper row of teeth, the lower one, and what is neither."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ..portrait.portrait import Portrait

INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
"""Landmarks around the opening, in order."""
LIPS = ((0, 13), (37, 82), (267, 312), (17, 14), (84, 87), (314, 317))
"""Landmarks on the outer and the inner rim of a lip; between them lies its middle."""
CORNERS = (61, 291)
MARGIN = 12
"""Pixels around the lips that are looked at."""
SKIN = np.array([1.26, 0.96, 0.78])
"""Red, green and blue of skin over their mean, in white light: what differs from it is the light's colour."""
LEAST_TINT = 0.25
SHUT = 0.025
"""An opening lower than this, relative to the mouth's width, is a line between lips and shows nothing."""
PALE = 0.66
"""Paleness of a tooth over the brightness of the face: lips and tongue are redder, the cavity is darker."""
PALISH = 0.8
"""The same of what lies beside such a tooth, over `PALE`."""
APART = 0.15
"""Teeth paler than lips by this, over the brightness of the face, are told from them beside the landmarks."""
REDDER = 0.04
"""Lips that are redder than teeth by this (red over the rest, of the sum of all) are told from them by it as well."""
REACH = 0.025
"""How far beside the landmarks such teeth are looked for: these are seldom nearer than a pixel or two."""
FEWEST = 8
"""Pixels of teeth below which there are none."""
SPECK = 0.0008
"""Area below which a pale spot is no tooth, relative to the square of the mouth's width."""
LOWER_ROW = 0.08
"""A row is the lower one where it lies this much farther from the upper lip than from the lower, over the width."""
WIDE = 0.25
"""Height over width from which an opening shows what lies in the jaw."""
SMOOTH = 0.06
"""Width along which the edge of a row is smoothed."""


class Inside(IntEnum):
    """What a pixel shows of a mouth."""

    NOTHING = 0
    """Lips, and everything beside them."""
    UPPER_ROW = 1
    """Teeth that stay with the skull, and the gums over them."""
    LOWER_ROW = 2
    """Teeth that move with the jaw, and what is under them."""
    SLIT = 3
    """Neither, between lips that are hardly parted."""
    CAVITY = 4
    """Neither, in a mouth so open that it is the floor of the mouth that shows."""


class _Frame(NamedTuple):
    """Coordinates along the mouth and across it, of every pixel."""

    column: Int[np.ndarray, "h w"]
    """Place along the line through the corners, whole pixels from the first that counts."""
    height: Float[np.ndarray, "h w"]
    """Pixels below that line."""
    count: int
    """Number of columns."""
    width: float
    """Distance of the corners, pixels."""


def seen_inside(portrait: Portrait) -> UInt8[Tensor, "512 512"]:
    """Return what every pixel shows of the inside of the mouth, one `Inside` each.

    Teeth are pale, and a row of them is one band from the lip to a smooth edge, dark gaps between teeth included.
    """
    landmarks = portrait.landmarks[:468, :2].double().cpu().numpy()
    crop = portrait.crop.cpu().numpy()
    found = np.zeros(crop.shape[1:], np.uint8)
    window, corner = _window(landmarks, crop.shape[1:])
    skin = crop[:, *_pixels(landmarks, crop.shape[1:])]
    tint = np.median(skin, axis=1) / SKIN
    light = np.float32(tint / max(float(tint.mean()), 1e-3)).clip(min=LEAST_TINT)[:, None, None]
    face = float(np.quantile(skin.mean(axis=0), 0.75))
    _sort(found[window], crop[:, *window] / light, landmarks - corner, face)
    return torch.from_numpy(found).to(portrait.crop.device)


def _pixels(
    places: Float[np.ndarray, "k 2"], size: tuple[int, ...]
) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"]]:
    """Return row and column of the nearest pixels in the picture."""
    column, row = places.astype(np.int64).T
    return row.clip(0, size[0] - 1), column.clip(0, size[1] - 1)


def _window(
    landmarks: Float[np.ndarray, "468 2"], size: tuple[int, ...]
) -> tuple[tuple[slice, slice], Float[np.ndarray, "2"]]:
    """Return the part of the picture around the lips, and its corner x, y."""
    lips = landmarks[[index for pair in LIPS for index in pair] + list(CORNERS) + list(INNER_LIPS)]
    low, high = np.floor(lips.min(axis=0)).astype(int) - MARGIN, np.ceil(lips.max(axis=0)).astype(int) + MARGIN
    low, high = low.clip(0, size[::-1]), high.clip(0, size[::-1])
    return (slice(low[1], high[1]), slice(low[0], high[0])), low.astype(np.float64)


def _filled(contour: Float[np.ndarray, "k 2"], size: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    import cv2

    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.round(16.0 * contour - 8.0).astype(np.int32)], 1, shift=4)
    return mask > 0


def _frame(landmarks: Float[np.ndarray, "468 2"], opening: Bool[np.ndarray, "h w"]) -> _Frame:
    start, end = landmarks[list(CORNERS)]
    width = max(float(np.linalg.norm(end - start)), 1.0)
    along = (end - start) / width
    rows, columns = np.mgrid[: opening.shape[0], : opening.shape[1]]
    right, down = columns + 0.5 - start[0], rows + 0.5 - start[1]
    place = np.round(right * along[0] + down * along[1]).astype(np.int64)
    margin = 1 + int(np.ceil(REACH * width))
    first, last = (place[opening].min(), place[opening].max()) if opening.any() else (0, 0)
    count = int(last - first) + 1 + 2 * margin
    column = (place - first + margin).clip(0, count - 1)
    return _Frame(column, down * along[0] - right * along[1], count, width)


def _extent(mask: Bool[np.ndarray, "h w"], frame: _Frame) -> tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]:
    """Return the least and the greatest height of a mask in every column; infinite (+, -) where it has none."""
    top, bottom = np.full(frame.count, np.inf), np.full(frame.count, -np.inf)
    np.minimum.at(top, frame.column[mask], frame.height[mask])
    np.maximum.at(bottom, frame.column[mask], frame.height[mask])
    return top, bottom


def _teeth(
    crop: Float[np.ndarray, "3 h w"],
    landmarks: Float[np.ndarray, "468 2"],
    opening: Bool[np.ndarray, "h w"],
    frame: _Frame,
    face: float,
) -> Bool[np.ndarray, "h w"]:
    """Return the pixels of teeth: pale between the lips, and what is nearly as pale beside that."""
    red, green, blue = crop
    redness = (red - 0.5 * (green + blue)) / np.maximum(crop.sum(axis=0), 1e-3)
    pale = (2.0 * np.minimum(red, green) + blue) / 3.0  # yellow teeth have little blue
    sure = opening & (pale > PALE * face)
    if sure.sum() < FEWEST:
        return np.zeros_like(sure)
    rosy, lip_red = float(np.quantile(redness[sure], 0.25)), _on_lips(redness, landmarks)
    white = redness < (0.5 * (rosy + lip_red) if lip_red - rosy > REDDER else np.inf)
    sure &= white
    tooth, lip = float(np.median(pale[sure])), _on_lips(pale, landmarks)
    teeth = sure | (opening & (pale > max(PALISH * PALE * face, 0.5 * (tooth + min(lip, tooth)))))
    if tooth - lip > APART * face:
        near = _grown(opening, max(1, round(REACH * frame.width))) > 0
        teeth |= near & (pale > (2.0 * tooth + lip) / 3.0)
    teeth &= white
    return teeth & _joined_to(sure, teeth, SPECK * frame.width**2)


def _on_lips(value: Float[np.ndarray, "h w"], landmarks: Float[np.ndarray, "468 2"]) -> float:
    middle = np.stack([landmarks[list(pair)].mean(axis=0) for pair in LIPS])
    return float(np.median(value[*_pixels(middle, value.shape)]))


def _grown(mask: Bool[np.ndarray, "h w"], pixels: int) -> UInt8[np.ndarray, "h w"]:
    import cv2

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (1 + 2 * pixels, 1 + 2 * pixels))
    return cv2.dilate(mask.astype(np.uint8), kernel)


def _pieces(mask: Bool[np.ndarray, "h w"], apart: int = 0) -> list[Bool[np.ndarray, "h w"]]:
    """Return the pieces of a mask that are connected, or lie at most twice ``apart`` pixels from each other."""
    import cv2

    count, piece = cv2.connectedComponents(_grown(mask, apart), connectivity=8)
    return [mask & (piece == index) for index in range(1, count)]


def _joined_to(sure: Bool[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], least: float) -> Bool[np.ndarray, "h w"]:
    """Return the pieces of a mask that hold something sure and are no specks."""
    kept = [piece for piece in _pieces(mask) if piece.sum() >= least and (piece & sure).any()]
    return np.logical_or.reduce(kept) if kept else np.zeros_like(mask)


def _sort(
    found: UInt8[np.ndarray, "h w"],
    crop: Float[np.ndarray, "3 h w"],
    landmarks: Float[np.ndarray, "468 2"],
    face: float,
) -> None:
    """Write what the pixels show: rows of teeth to their edges, and the rest of the opening."""
    opening = _filled(landmarks[list(INNER_LIPS)], found.shape)
    frame = _frame(landmarks, opening)
    top, bottom = _extent(opening, frame)
    if not opening.any() or (bottom - top).max() < SHUT * frame.width:
        return
    teeth = _teeth(crop, landmarks, opening, frame, face)
    inside = opening | teeth
    top, bottom = _extent(inside, frame)
    upper, lower = _rows(teeth, top, bottom, frame)
    wide = lower.any() or (bottom - top).max() > WIDE * frame.width
    found[inside] = Inside.CAVITY if wide else Inside.SLIT
    found[inside & (frame.height > _edge(_extent(lower, frame)[0], frame) - 0.5) | lower] = Inside.LOWER_ROW
    found[inside & (frame.height < _edge(_extent(upper, frame)[1], frame) + 0.5) | upper] = Inside.UPPER_ROW


def _rows(
    teeth: Bool[np.ndarray, "h w"], top: Float[np.ndarray, "c"], bottom: Float[np.ndarray, "c"], frame: _Frame
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Tell the teeth of the upper row from those of the lower one; ``top`` and ``bottom`` are the opening's."""
    lower = np.zeros_like(teeth)
    for piece in _pieces(teeth, round(REACH * frame.width)):
        high, low = _extent(piece, frame)
        has = np.isfinite(high)
        above, below = np.median(high[has] - top[has]), np.median(bottom[has] - low[has])
        lower |= piece & (above > below + LOWER_ROW * frame.width)
    return teeth & ~lower, lower


def _edge(height: Float[np.ndarray, "c"], frame: _Frame) -> Float[np.ndarray, "h w"]:
    """Return a row's edge at every pixel: drawn on between teeth, smoothed, and none (NaN) beyond the outermost."""
    from scipy.ndimage import median_filter

    place = np.flatnonzero(np.isfinite(height))
    if not len(place):
        return np.full(frame.height.shape, np.nan)
    between = np.arange(place[0], place[-1] + 1)
    edge = np.full(frame.count, np.nan)
    drawn = np.interp(between, place, height[place])
    edge[between] = median_filter(drawn, 1 + 2 * round(0.5 * SMOOTH * frame.width), mode="nearest")
    return edge[frame.column]
