"""One face through a video."""

from __future__ import annotations

import numpy as np

from .landmarker import MIN_PRESENCE, Face, FaceLandmarker, face_region
from .warp import Region, warp

THUMBNAIL = 48
CUT = 0.75
"""A face and the same face in the next frame are more alike than this (correlation); below it, a cut is suspected."""
SAME_PERSON = 0.6
"""Measured on 59 clips: 2 % of thumbnails of one person over ten seconds are less alike, 90 % of two people's are."""
STEADY = 0.02
"""A face that has moved less than this share of the crop's edge moves the crop less than in proportion."""
FAR = 0.08
"""A face that has moved more than this in one frame is read again in a new crop."""


class FaceTracker:
    """Follows one person frame by frame: the crop comes from the last frame's landmarks.

    Holds the face it saw first; when the picture cuts to somebody else it reports no face until the person is back.
    """

    def __init__(self, landmarker: FaceLandmarker | None = None) -> None:
        """Start without a face; pass a ``landmarker`` to share its networks."""
        self._landmarker = landmarker or FaceLandmarker()
        self._region: Region | None = None
        self._last: np.ndarray | None = None
        self._memory: list[np.ndarray] = []

    def update(self, image: np.ndarray) -> Face | None:
        """Return the tracked face in the next frame [H,W,3] (uint8 RGB), or None when it is not there."""
        face = self._follow(image) or self._search(image)
        if face is None:
            self._region = None
            return None
        landmarks = face.landmarks.double().numpy()
        self._region = _steadied(self._region, face_region(landmarks))
        self._last = _thumbnail(image, landmarks)
        self._remember(self._last)
        return face

    def _follow(self, image: np.ndarray) -> Face | None:
        """Read the face where it was; None when it has gone or turned into another at a cut."""
        if self._region is None or self._last is None:
            return None
        face = self._landmarker.refine(image, self._region, steps=1)
        region = face_region(face.landmarks.double().numpy())
        if _moved(self._region, region) > FAR:
            face = self._landmarker.refine(image, region, steps=1)
        if face.score < MIN_PRESENCE:
            return None
        thumbnail = _thumbnail(image, face.landmarks.double().numpy())
        return face if float(thumbnail @ self._last) > CUT or self._likeness(thumbnail) > SAME_PERSON else None

    def _search(self, image: np.ndarray) -> Face | None:
        """Look in the whole frame: for the largest face at first, later for the one most like those remembered."""
        faces = self._landmarker.detect(image, upright=True)
        if not faces or not self._memory:
            return faces[0] if faces else None
        likeness = [self._likeness(_thumbnail(image, face.landmarks.double().numpy())) for face in faces]
        best = int(np.argmax(likeness))
        return faces[best] if likeness[best] > SAME_PERSON else None

    def _likeness(self, thumbnail: np.ndarray) -> float:
        return max(float(thumbnail @ known) for known in self._memory)

    def _remember(self, thumbnail: np.ndarray) -> None:
        """Keep the first thumbnail and a slow running mean."""
        mean = thumbnail if len(self._memory) < 2 else 0.95 * self._memory[1] + 0.05 * thumbnail
        first = self._memory[0] if self._memory else thumbnail
        self._memory = [first, mean / np.linalg.norm(mean)]


def _steadied(old: Region | None, new: Region) -> Region:
    """Hold the crop still while the face barely moves in it: crop jitter becomes landmark jitter."""
    if old is None or _moved(old, new) > FAR:
        return new
    share = min(_moved(old, new) / STEADY, 1.0) * 0.5
    turn = (new.angle - old.angle + np.pi) % (2 * np.pi) - np.pi
    center = old.center + share * (new.center - old.center)
    return Region(center, old.size + share * (new.size - old.size), old.angle + share * turn)


def _moved(old: Region, new: Region) -> float:
    """How far ``new`` is from ``old``: shift, growth or turn, whichever is largest, relative to the edge."""
    turn = abs((new.angle - old.angle + np.pi) % (2 * np.pi) - np.pi)
    shift = float(np.linalg.norm(new.center - old.center)) / old.size
    return max(shift, abs(new.size / old.size - 1.0), turn * 0.3)


def _thumbnail(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the grey levels inside the face, aligned, as a vector of mean 0 and length 1: a cheap identity."""
    import cv2

    region = face_region(landmarks)
    inner = Region(region.center, region.size * 0.75, region.angle)
    pixels = warp(image, inner.to_crop(THUMBNAIL), (THUMBNAIL, THUMBNAIL)).astype(np.float32).mean(axis=2)
    pixels = cv2.GaussianBlur(pixels, (0, 0), 1.5)
    ticks = (np.arange(THUMBNAIL) + 0.5) / THUMBNAIL - 0.5
    inside = (ticks[None, :] / 0.36) ** 2 + (ticks[:, None] / 0.46) ** 2 < 1
    values = pixels[inside] - pixels[inside].mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)
