"""The torso-background layer ``I_s^bg``: the crop with the head taken out and the hole filled."""

from __future__ import annotations

import numpy as np
import torch

from ..media.fill import fill
from ..smoothstep import smoothstep
from .face_frame import FaceFrame
from .matte import hair_ramp
from .parsing import Label

_WIDEST_NECK = 1.15
"""Skin farther than so many times half the neck's width from its middle is shoulder or collar."""
_UNDER_FACE = 0.3
"""A neck reaches at least so many half face widths to both sides of the middle of the face's outline."""
_CURTAIN = 1.0
"""Hair is seen behind the neck up to so many times half the face's width from its middle."""
_ISLAND = 0.004
"""Pieces up to this share of the crop that stand alone in the head's place are filled with it."""


def torso_background(
    crop: np.ndarray, matte: np.ndarray, probabilities: np.ndarray, frame: FaceFrame, inside: np.ndarray
) -> np.ndarray:
    """Return the crop [S,S,3] without the head: the background goes on behind it, and the neck up into it.

    Two layers are filled apart, so that no background colour leaks into the neck and none of its colour out: what is
    behind the person, and the person's neck and torso; then the torso's shape is continued into the hole.
    """
    person = probabilities[[Label.BODY, Label.CLOTHES]].sum(axis=0)
    hole = _head_hole(probabilities, matte, frame)
    visible = _visible_below_jaw(probabilities, frame)
    neck = visible & (person > 0.9)
    seen = _without_islands(inside & (~hole | visible), frame)
    shape = _torso_shape(person, matte, hole, neck, neck & (probabilities[Label.BODY] > 0.9), frame)
    behind = _filled(crop, _enough(seen & ~hole & (probabilities[Label.BACKGROUND] > 0.9), inside & ~hole))
    behind = _with_hair(behind, crop, probabilities[Label.HAIR], matte, inside, frame)
    torso = _filled(crop, _enough(inside & (person > 0.9) & (~hole | neck), inside))
    layered = torso * shape[..., None] + behind * (1.0 - shape[..., None])
    # The seam is softened inwards, so that nothing of the head comes back.
    kept = np.clip(2.0 * _soft(seen, 2.0) - 1.0, 0.0, 1.0)[..., None] * inside[..., None]
    return np.clip(crop * kept + layered * (1.0 - kept), 0.0, 1.0).astype(np.float32)


def _head_hole(p: np.ndarray, matte: np.ndarray, frame: FaceFrame) -> np.ndarray:
    """Return where the head and its fringe are: the matte, and above the chin all that may be hair, grown a little.

    Where hair fades out over the shoulders it stays in this layer: both layers then show it, and no gap can open.
    """
    _, v = frame.coordinates(matte.shape[0])
    perhaps = (p[[Label.HAIR, Label.FACE, Label.OTHER]].sum(axis=0) > 0.15) & (v < frame.chin)
    near = _grown(matte > 0.5, 0.06)
    return _grown((matte > 0.02) | (perhaps & near), 0.02) & (hair_ramp(frame, v) > 0.98)


def _with_hair(
    behind: np.ndarray, crop: np.ndarray, hair: np.ndarray, matte: np.ndarray, inside: np.ndarray, frame: FaceFrame
) -> np.ndarray:
    """Return what is behind the person with long hair going on behind the neck, on those sides where it hangs.

    A jaw that turns away from hair that rests on the shoulders opens a view of what is between: more hair.
    """
    u, v = frame.coordinates(hair.shape[0])
    across = (u - frame.center) / frame.half_width
    hangs = inside & (hair > 0.9) & (matte > 0.9) & (v > frame.chin - 0.35) & (np.abs(across) < 1.4)
    if hangs.sum() < 200:
        return behind
    level = (v > frame.chin - 0.2) & (v < frame.chin + 0.1)
    curtain = np.zeros_like(hangs)
    for side in (-1.0, 1.0):
        beside = level & (side * across > 0.8) & (side * across < 1.2)
        if (hangs & beside).sum() > 0.5 * beside.sum():
            curtain |= (side * across >= 0.0) & (side * across < _CURTAIN)
    curtain &= (v > frame.chin - 0.5) & ~_grown(matte < 0.9, 0.01)
    share = _soft(curtain, 3.0)[..., None]
    return behind + share * (_filled(crop, hangs) - behind)


def _without_islands(seen: np.ndarray, frame: FaceFrame) -> np.ndarray:
    """Return what is seen beside the head without small pieces above the chin: mostly hair, left hanging in the air."""
    import cv2

    _, v = frame.coordinates(seen.shape[0])
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(seen.astype(np.uint8))
    return seen & ((stats[:, cv2.CC_STAT_AREA] > _ISLAND * seen.size)[pieces] | (v > frame.chin))


def _enough(known: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return ``known`` unless it is too little to fill from."""
    return known if known.mean() > 0.002 else otherwise


def _visible_below_jaw(p: np.ndarray, frame: FaceFrame) -> np.ndarray:
    """Return where the crop itself shows neck, collar or what is beside them, well away from face and hair.

    The matte covers some of it, softly; so both layers show it, and the fade leaves no trace at rest.
    """
    u, v = frame.coordinates(p.shape[-1])
    head = p[[Label.HAIR, Label.FACE, Label.OTHER]].sum(axis=0) > 0.2
    below = (v > frame.jaw(u) + 0.03) & (np.abs(u - frame.center) < frame.half_width * 1.4)
    return below & ~_grown(head, 0.008)


def _torso_shape(
    person: np.ndarray, matte: np.ndarray, hole: np.ndarray, neck: np.ndarray, bare: np.ndarray, frame: FaceFrame
) -> np.ndarray:
    """Return the soft silhouette [S,S] of neck and torso, continued behind the head; ``bare`` is the neck's skin."""
    u, v = frame.coordinates(person.shape[0])
    center, half = _neck_column(neck, frame, u, v)
    # Narrowing upwards, so that no corner looks out from behind a turned jaw.
    column = np.abs(u - center) < half * (1.0 - 0.5 * smoothstep(-v, -frame.chin, 0.35 - frame.chin))
    # Nor narrower than what is seen of it: beside the jaw its edge would end in a spike.
    bare = bare & (np.abs(u - center) < _WIDEST_NECK * half)
    perhaps = column | (np.abs(u - center) < _seen_reach(bare, u - center, v, frame))
    above, below = v < frame.chin - 0.3, v < frame.chin + 0.25
    # Long hair hides the shoulders: they and a wide neck are guessed, but only well behind it.
    shoulders = v > frame.chin + 0.3 + 0.35 * np.maximum(np.abs(u - center) - half, 0.0)
    guessed = ((perhaps & ~above & below) | shoulders) & ~_grown(matte < 0.5, 0.02)
    empty = above | (~perhaps & (v < frame.chin - 0.05))
    solid = neck | (hole & ((column & ~above & below) | guessed | (_between((person > 0.5) & ~hole) & ~above)))
    value = np.where(solid, 1.0, np.where(hole & empty, 0.0, person))
    shape = _filled(value[..., None].astype(np.float32), ~hole | solid | empty)[..., 0]
    return np.where(hole, _soft(smoothstep(shape, 0.35, 0.65), 2.0), shape)


def _between(seen: np.ndarray) -> np.ndarray:
    """Return where something is seen on both sides in the same row: shoulders on both sides of a lowered chin."""
    return np.maximum.accumulate(seen, axis=1) & np.maximum.accumulate(seen[:, ::-1], axis=1)[:, ::-1]


def _seen_reach(bare: np.ndarray, across: np.ndarray, v: np.ndarray, frame: FaceFrame) -> np.ndarray:
    """Return how far from its middle the neck goes on each pixel's side and level, by what is seen of its skin.

    Above the highest skin that is seen on a side it draws in at 45 degrees.
    """
    levels = np.linspace(frame.chin - 0.4, frame.chin + 0.3, 71)
    step = levels[1] - levels[0]
    nearest = np.clip(np.round((v - levels[0]) / step).astype(int), 0, len(levels) - 1)
    reach = np.zeros_like(across)
    for side in (-1.0, 1.0):
        chosen = bare & (side * across > 0.0)
        farthest = np.full(len(levels), -1.0)
        np.maximum.at(farthest, nearest[chosen], side * across[chosen])
        drawn_in = np.maximum.accumulate((farthest - levels)[::-1])[::-1] + levels
        reach = np.where(side * across > 0.0, np.interp(v, levels, drawn_in), reach)
    return reach


def _neck_column(neck: np.ndarray, frame: FaceFrame, u: np.ndarray, v: np.ndarray) -> tuple[float, float]:
    """Return the centre and half the width, in u, of the neck just below the chin; guessed when it is hidden."""
    band = neck & (v > frame.chin + 0.02) & (v < frame.chin + 0.2)
    guess = frame.center, 0.72 * frame.half_width
    if band.sum() < 50:
        return guess
    low, high = np.quantile(u[band], (0.03, 0.97))
    # A lowered chin may hide one side of it: no neck passes the middle of the face by.
    reach = _UNDER_FACE * frame.half_width
    low, high = min(low, frame.center - reach), max(high, frame.center + reach)
    half = float(np.clip((high - low) / 2, 0.55 * frame.half_width, 0.95 * frame.half_width))
    return float(np.clip((low + high) / 2, frame.center - 0.4, frame.center + 0.4)), half


def _filled(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill the unknown pixels of ``image`` [S,S,C] smoothly from the known ones.

    Done at half the size, where it costs a quarter: away from the known pixels there is no detail to lose.
    """
    import cv2

    size = image.shape[0]
    weight = known.astype(np.float32)
    small_weight = cv2.resize(weight, (size // 2, size // 2), interpolation=cv2.INTER_AREA)
    small = cv2.resize(image * weight[..., None], (size // 2, size // 2), interpolation=cv2.INTER_AREA)
    small = np.atleast_3d(small) / np.maximum(small_weight, 1e-6)[..., None]
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(small, -1, 0), dtype=np.float32))
    filled = fill(planes, torch.from_numpy((small_weight > 0).astype(np.float32))[None])
    large = cv2.resize(np.moveaxis(filled.numpy(), 0, -1), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.where(known[..., None], image, np.atleast_3d(large))


def _grown(mask: np.ndarray, share: float) -> np.ndarray:
    """Dilate a mask by ``share`` of the crop's edge."""
    import cv2

    radius = max(1, round(share * mask.shape[0]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)


def _soft(mask: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)
