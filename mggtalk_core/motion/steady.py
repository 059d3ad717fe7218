"""Landmarks held to what the pictures show: optical flow from earlier frames of the same face.

The landmark network reads every frame anew and is off by about a hundredth of the eye distance, differently in each
pose and light. Between two frames of one clip the picture itself tells far better how a point of the face has moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from ..head.observation import LIPS, LOWER_LIDS, UPPER_LIDS, eye_distance
from ..portrait.warp import apply, invert, similarity, warp

SIZE, FACE_SHARE = 384, 0.8
"""Edge of the upright picture of the face in which flow is measured, and how much of it the landmarks take."""
WINDOW, LEVELS = 21, 2
"""Edge of the window that is followed, in pixels, and halvings of the picture that it is followed in first."""
RETURN = 2.0
"""A point that, followed there and back, misses its start by so many pixels is not believed at all."""
REACH = 0.1
"""Nor one that is more than twice this share of the eye distance away from where the network sees it."""
LEAST = 16.0
"""A face of fewer pixels shows nothing that could be followed."""
NEW_KEY, MOST_KEYS = 0.06, 12
"""A frame is kept if its face differs by this share of the eye distance from all that are, and how many may be."""
FACING = np.array(
    [pair for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True) for pair in zip(upper, lower, strict=True)]
    + list(LIPS)
)
"""Pairs of landmarks between which an eye or the mouth opens."""


@dataclass(frozen=True)
class _Key:
    """A frame that others are compared with."""

    picture: UInt8[np.ndarray, "SIZE SIZE"]
    landmarks: Float[np.ndarray, "478 2"]
    """In pixels of the upright picture, corrected."""


class Steadier:
    """Corrects the landmarks of one face from frame to frame."""

    def __init__(self) -> None:
        self._keys: list[_Key] = []
        self._home: np.ndarray | None = None

    def __call__(
        self, image: UInt8[np.ndarray, "height width 3"], landmarks: Float[np.ndarray, "478 3"]
    ) -> Float[np.ndarray, "478 3"]:
        """Return the landmarks of the next frame, in its pixels, moved to where earlier frames say that they are.

        The first frame's stay as they are, and so do ``z`` and every opening: flow loses lids that shut.
        Pyramidal Lucas-Kanade (Bouguet 2001), there and back, from the kept frame that is most alike.
        """
        import cv2

        seen = landmarks[:, :2].astype(np.float64)
        if np.ptp(seen, axis=0).max() < LEAST:
            return landmarks
        if self._home is None:
            self._home = _upright(seen)
        to_picture = similarity(seen, self._home)
        picture = cv2.cvtColor(warp(image, to_picture, (SIZE, SIZE), replicate=True), cv2.COLOR_RGB2GRAY)
        here = apply(to_picture, seen)
        unit = eye_distance(here)
        if self._keys:
            apart = [float(np.linalg.norm(here - key.landmarks, axis=1).mean()) / unit for key in self._keys]
            here = here + self._correction(self._keys[int(np.argmin(apart))], picture, here, unit)
            if min(apart) > NEW_KEY and len(self._keys) < MOST_KEYS:
                self._keys.append(_Key(picture, here))
        else:
            self._keys.append(_Key(picture, here))
        return np.column_stack((apply(invert(to_picture), here), landmarks[:, 2]))

    def _correction(
        self, key: _Key, picture: UInt8[np.ndarray, "SIZE SIZE"], here: Float[np.ndarray, "478 2"], unit: float
    ) -> Float[np.ndarray, "478 2"]:
        there, back, found = _followed(key, picture, here)
        miss = np.linalg.norm(back - key.landmarks, axis=1)
        move = there - here
        far = np.linalg.norm(move, axis=1) / unit
        trust = found * np.clip(1.0 - miss / RETURN, 0.0, 1.0) * np.clip(2.0 - far / REACH, 0.0, 1.0)
        moved = np.where(trust[:, None] > 0.0, trust[:, None] * move, 0.0)
        moved[FACING] = moved[FACING].mean(axis=1, keepdims=True)
        return moved


def _followed(
    key: _Key, picture: UInt8[np.ndarray, "SIZE SIZE"], here: Float[np.ndarray, "478 2"]
) -> tuple[Float[np.ndarray, "478 2"], Float[np.ndarray, "478 2"], np.ndarray]:
    """Return where the key's landmarks lie in the picture, where they lie when followed back, and which were found."""
    import cv2

    # OpenCV counts pixels from their centres.
    start, guess = ((each - 0.5).astype(np.float32).reshape(-1, 1, 2) for each in (key.landmarks, here))
    ends = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01)
    options = {"winSize": (WINDOW, WINDOW), "maxLevel": LEVELS, "criteria": ends, "minEigThreshold": 1e-4}
    options["flags"] = cv2.OPTFLOW_USE_INITIAL_FLOW
    there, found, _ = cv2.calcOpticalFlowPyrLK(key.picture, picture, start, guess, **options)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(picture, key.picture, there, start.copy(), **options)
    return there[:, 0] + 0.5, back[:, 0] + 0.5, (found & found_back)[:, 0] > 0


def _upright(seen: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "478 2"]:
    """Return the first frame's landmarks in the middle of the upright picture."""
    low, high = seen.min(axis=0), seen.max(axis=0)
    scale = FACE_SHARE * SIZE / max(float((high - low).max()), 1.0)
    return (seen - (low + high) / 2.0) * scale + SIZE / 2.0
