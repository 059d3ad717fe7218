"""The animated crop back in the source picture, at the picture's own resolution."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..portrait.portrait import Portrait
from ..smoothstep import smoothstep

FEATHER = 24
"""Width in crop pixels over which the crop's border blends into the picture."""
_QUIET, _LOUD = 2.0 / 255.0, 12.0 / 255.0
"""Changes from the source crop up to which the picture keeps all its own detail, and beyond which it keeps none."""
_SEEN = 1e-3
"""Changes up to this, of 255, are none."""


class Paster:
    """Pastes animated crops of one portrait into its source picture.

    What is warped into the picture is the change against the source crop. Where nothing changes the picture keeps its
    bytes; where little changes it keeps its own fine detail, which the crop may be too coarse to hold; where much
    changes the crop replaces it, since old detail would shine through as a ghost.
    """

    def __init__(self, portrait: Portrait) -> None:
        self.picture: UInt8[np.ndarray, "height width 3"] = _to_bytes(portrait.source)
        self._planes = portrait.crop.detach().to("cpu", torch.float32).numpy()
        size = self._planes.shape[-1]
        to_crop = portrait.crop_transform.double().cpu().numpy()
        self._box = _box(to_crop, size, self.picture.shape[:2])
        self._scale = float(np.sqrt(abs(np.linalg.det(to_crop[:, :2]))))
        self._grid = max(1, min(size, round(size / self._scale)))  # a picture coarser than the crop: shrink it first
        self._transform = _in_indices(to_crop, self._box, self._grid / size)
        x, y, right, bottom = self._box
        self._detail = self.picture[y:bottom, x:right].astype(np.float32) - self._warp(_to_rows(portrait.crop) * 255.0)
        self._feather = _feather(size)

    def paste(self, frame: Float[Tensor, "3 512 512"]) -> UInt8[np.ndarray, "height width 3"]:
        """Return a new picture with the animated crop in its place."""
        picture = self.picture.copy()
        change = self._change(frame.detach().to("cpu", torch.float32).numpy())
        window = self._window(change)
        if window is None:
            return picture
        x, y, right, bottom = window
        left, top = self._box[:2]
        moved = self._warp(change, window)
        region = picture[y:bottom, x:right]
        detail = self._detail[y - top : bottom - top, x - left : right - left]
        _apply(region, moved, detail)
        return picture

    def _change(self, frame: np.ndarray) -> np.ndarray:
        """Return [size,size,4]: the change of colour (0..255) and the share of the picture's detail that goes."""
        import cv2

        difference = frame - self._planes
        largest = np.abs(difference).max(axis=0)
        near = cv2.blur(cv2.dilate(largest, np.ones((5, 5), np.uint8)), (5, 5))
        difference *= 255.0 * self._feather
        return cv2.merge([*difference, smoothstep(near, _QUIET, _LOUD) * self._feather])

    def _window(self, change: np.ndarray) -> tuple[int, int, int, int] | None:
        """Return the box of the picture in which the change can be seen, or None."""
        import cv2

        seen = cv2.inRange(change, (-_SEEN,) * 4, (_SEEN,) * 4)
        x, y, width, height = cv2.boundingRect(cv2.bitwise_not(seen))
        if width == 0:
            return None
        scale = self._grid / change.shape[0]
        corners = np.array([[x - 2, y - 2, 1], [x + width + 2, y - 2, 1], [x - 2, y + height + 2, 1]])
        corners = np.vstack((corners, [[x + width + 2, y + height + 2, 1]])) * [scale, scale, 1.0]
        inverse = np.linalg.inv(np.vstack((self._transform, [0.0, 0.0, 1.0])))
        places = (corners - [0.5, 0.5, 0.0]) @ inverse[:2].T + self._box[:2]
        low, high = np.floor(places.min(axis=0)).astype(int) - 2, np.ceil(places.max(axis=0)).astype(int) + 3
        left, top = np.maximum(low, self._box[:2])
        right, bottom = np.minimum(high, self._box[2:])
        return None if right <= left or bottom <= top else (int(left), int(top), int(right), int(bottom))

    def _warp(self, image: np.ndarray, window: tuple[int, int, int, int] | None = None) -> np.ndarray:
        """Resample a crop-sized image onto the picture's pixels inside ``window``; 0 outside the crop."""
        import cv2

        left, top, right, bottom = window or self._box
        if self._grid < image.shape[0]:
            image = cv2.resize(image, (self._grid, self._grid), interpolation=cv2.INTER_AREA)
        transform = self._transform.copy()
        transform[:, 2] += transform[:, :2] @ (left - self._box[0], top - self._box[1])
        size = (right - left, bottom - top)
        return cv2.warpAffine(image, transform, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _apply(region: np.ndarray, moved: np.ndarray, detail: np.ndarray) -> None:
    """Add the change to the bytes of ``region`` and take away the share of detail that is gone, in place."""
    import cv2

    change, share = (np.empty(detail.shape, np.float32) for _ in range(2))
    cv2.mixChannels([moved], [change, share], [0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 3, 5])
    change -= cv2.multiply(share, detail)
    cv2.add(region, change, dst=region, dtype=cv2.CV_8U)


def _to_rows(image: Float[Tensor, "3 h w"]) -> np.ndarray:
    return image.detach().to("cpu", torch.float32).permute(1, 2, 0).contiguous().numpy()


def _to_bytes(image: Float[Tensor, "3 h w"]) -> np.ndarray:
    return np.clip(_to_rows(image) * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)


def _box(to_crop: np.ndarray, size: int, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box of the picture that the crop covers: left, top, right, bottom, ends excluded."""
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - to_crop[:, 2]
    places = corners @ np.linalg.inv(to_crop[:, :2]).T
    low, high = np.floor(places.min(axis=0)).astype(int), np.ceil(places.max(axis=0)).astype(int)
    left, top = np.maximum(low, 0)
    right, bottom = np.minimum(high, shape[::-1])
    return int(left), int(top), int(max(right, left)), int(max(bottom, top))


def _in_indices(to_crop: np.ndarray, box: tuple[int, int, int, int], scale: float) -> np.ndarray:
    """Turn the map of continuous coordinates into one from pixel indices of the box to indices of the shrunk crop."""
    linear = to_crop[:, :2] * scale
    offset = linear @ (np.array(box[:2]) + 0.5) + to_crop[:, 2] * scale - 0.5
    return np.column_stack((linear, offset))


def _feather(size: int) -> np.ndarray:
    """Return a smooth step over the crop: 0 at its border, 1 from `FEATHER` pixels inwards."""
    position = np.arange(size, dtype=np.float32) + np.float32(0.5)
    ramp = smoothstep(np.minimum(position, size - position), 0.5, 0.5 + FEATHER)
    return np.minimum(ramp, ramp[:, None])
