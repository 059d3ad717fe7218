"""The head matte: which pixels move with the head, softly (head image ``I_s^h`` of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..smoothstep import smoothstep
from .face_frame import FaceFrame
from .guided import guided_filter
from .parsing import Label

NECK_FADE = 0.35
"""The neck fades out over this many face heights below the jaw."""
HAIR_FADE = (0.12, 0.5)
"""Hair fades out between these distances below the chin, in face heights: shoulders do not turn with the head."""


def head_matte(
    probabilities: np.ndarray,
    crop: np.ndarray,
    frame: FaceFrame,
    inside: np.ndarray,
    others: Sequence[FaceFrame] = (),
) -> np.ndarray:
    """Return the soft matte [S,S] of the head.

    Args:
        probabilities: parsing [6,S,S].
        crop: the picture [S,S,3] in 0..1, whose edges the matte follows.
        frame: the face in the crop.
        inside: bool [S,S], where the crop shows the picture rather than what was made up beyond its border.
        others: the other faces in the picture, in the crop's coordinates; what is nearer to them is theirs.
    """
    u, v = frame.coordinates(crop.shape[0])
    head = _connected(_belonging(probabilities, frame, u, v) * _own_share(frame, others, crop.shape[0]), frame)
    matte = guided_filter(crop, head, crop.shape[0] // 85, 1e-4)
    matte = smoothstep(matte, 0.08, 0.92)
    matte = np.maximum(matte, _solid_face(frame, crop.shape[0]))
    matte = matte * np.maximum(_skull(frame, u, v), _soft(inside.astype(np.float32), 3.0))
    return np.clip(matte * _border_fade(inside), 0.0, 1.0).astype(np.float32)


def _belonging(p: np.ndarray, frame: FaceFrame, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return how much every pixel moves with the head, by its label and its place on the face."""
    jaw = frame.jaw(u)
    lateral = np.abs(u - frame.center) / frame.half_width
    neck = 1.0 - smoothstep(v, jaw + 0.02, jaw + 0.02 + NECK_FADE)
    neck = _soft(neck * (1.0 - smoothstep(lateral, 1.15, 1.4)), 3.0)
    hair = hair_ramp(frame, v)
    # Hoods and veils are called clothes, and drawn hair sometimes: beside and above the face they go with the head.
    hood = 1.0 - smoothstep(v, frame.chin - 0.6, frame.chin - 0.35)
    # A face further out than the ears is somebody else's.
    near = 1.0 - smoothstep(np.abs(u - frame.center), 0.2 + frame.half_width, 0.3 + frame.half_width)
    return (
        p[Label.FACE] * np.maximum(hair, neck) * near
        + (p[Label.HAIR] + p[Label.OTHER]) * hair
        + p[Label.BODY] * neck
        + p[Label.CLOTHES] * hood
    )


def hair_ramp(frame: FaceFrame, v: np.ndarray) -> np.ndarray:
    """Return 1 where hair moves with the head, falling to 0 at the shoulders or just above the crop's lower edge."""
    return 1.0 - smoothstep(v, *hair_levels(frame, v.shape[0]))


def hair_levels(frame: FaceFrame, size: int) -> tuple[float, float]:
    """Return v down to which hair moves with the head, and v from which it belongs to the torso's layer alone."""
    corners = np.array([[0.5, size - 0.5], [size - 0.5, size - 0.5]])
    bottom = float(frame.from_pixels(corners)[:, 1].min())
    start, end = frame.chin + HAIR_FADE[0], frame.chin + HAIR_FADE[1]
    return min(start, bottom - 0.3), min(end, bottom - 0.02)


def _own_share(frame: FaceFrame, others: Sequence[FaceFrame], size: int) -> np.ndarray:
    """Return 1 where this face is the nearest, distances in face heights, 0 where another is."""
    share = np.ones((size, size), np.float32)
    own = np.hypot(*frame.coordinates(size))
    for other in others:
        share *= smoothstep(np.hypot(*other.coordinates(size)) - own, -0.1, 0.1)
    return share


def _connected(head: np.ndarray, frame: FaceFrame) -> np.ndarray:
    """Drop what does not touch the face, and close small holes."""
    import cv2

    size = head.shape[0]
    solid = ((head > 0.3) | frame.hull(size).astype(bool)).astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(solid)
    touching = np.unique(parts[frame.hull(size) > 0])
    keep = np.isin(parts, touching[touching > 0])
    holes, regions, areas, _ = cv2.connectedComponentsWithStats((~keep).astype(np.uint8))
    small = areas[:, cv2.CC_STAT_AREA] < 0.002 * size * size
    small[0] = False
    closed = small[regions]
    near = cv2.dilate(keep.astype(np.uint8), np.ones((9, 9), np.uint8))
    return np.where(closed, 1.0, head * _soft(near.astype(np.float32), 2.0)).astype(np.float32)


def _solid_face(frame: FaceFrame, size: int) -> np.ndarray:
    """Return the inside of the face, a little away from its outline: never transparent."""
    import cv2

    edge = max(3, int(0.05 * frame.height)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * edge + 1, 2 * edge + 1))
    return _soft(cv2.erode(frame.hull(size), kernel).astype(np.float32), edge / 3)


def _skull(frame: FaceFrame, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return an oval the size of a head with short hair: how far a head cut by the picture's border may go on."""
    top = float(frame.landmarks[:, 1].min()) - 0.28
    middle, half = (top + frame.chin) / 2, (frame.chin - top) / 2
    across = (u - frame.center) / max(frame.half_width * 1.3, 0.4)
    return 1.0 - smoothstep(np.hypot(across, (v - middle) / half), 0.96, 1.04)


def _border_fade(inside: np.ndarray) -> np.ndarray:
    """Fade to 0 along those edges of the crop beyond which the picture goes on, so that no seam can move."""
    size = inside.shape[0]
    ticks = np.arange(size, dtype=np.float32) + 0.5
    fades = {"low": smoothstep(ticks, 2.0, 14.0), "high": smoothstep(size - ticks, 2.0, 14.0)}
    rows, columns = np.ones(size, np.float32), np.ones(size, np.float32)
    for strip, ramp, target in (
        (inside[0], fades["low"], rows), (inside[-1], fades["high"], rows),
        (inside[:, 0], fades["low"], columns), (inside[:, -1], fades["high"], columns),
    ):  # fmt: skip
        if strip.any():
            target *= ramp
    return rows[:, None] * columns[None, :]


def _soft(mask: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(mask, (0, 0), sigma)
