"""Which pixel is hair, skin, clothes: Google's selfie_multiclass (Apache-2.0), or outlines and GrabCut without it."""

from __future__ import annotations

import warnings
from enum import IntEnum
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import WeightsError
from ..progress import OnStep, ignore_steps
from .face_frame import FaceFrame
from .networks import Network
from .warp import Region, invert, warp

EDGE = 256
WEIGHTS = "selfie_multiclass_256x256.tflite"


class Label(IntEnum):
    """Classes of the parsing, in the network's order."""

    BACKGROUND = 0
    HAIR = 1
    BODY = 2
    FACE = 3
    CLOTHES = 4
    OTHER = 5


class Parser:
    """Parses squares of a picture."""

    def __init__(self, *, on_step: OnStep = ignore_steps) -> None:
        """Load the network, fetching it first where that is needed; warn and do without if it cannot be had."""
        from ..weights.resolver import resolve

        self._network: Network | None = None
        try:
            self._network = _load(resolve(WEIGHTS, on_step=on_step))
        except WeightsError as error:
            warnings.warn(f"Parsing by outline and GrabCut, which is coarser: {error}", stacklevel=2)

    def parse(self, image: np.ndarray, region: Region, landmarks: np.ndarray) -> np.ndarray:
        """Return the probabilities [6,256,256] of the labels in a square of ``image`` [H,W,3] (uint8).

        ``landmarks`` [478,3] (picture pixels) are what the way without the network goes by.
        """
        to_crop = region.to_crop(EDGE)
        pixels = warp(image, to_crop, (EDGE, EDGE), replicate=True)
        if self._network is None:
            scaled = landmarks[:, 2:] * (EDGE / region.size)
            flat = landmarks[:, :2] @ to_crop[:, :2].T + to_crop[:, 2]
            return outline_parsing(pixels, FaceFrame.from_landmarks(np.concatenate((flat, scaled), axis=1)))
        logits = self._network(pixels[None].astype(np.float32) / 255.0)[0][0]
        # The logits stay within -2..4: as they are, sure pixels would come out at 0.9.
        powers = np.exp(2.0 * (logits - logits.max(axis=-1, keepdims=True)))
        return np.moveaxis(powers / powers.sum(axis=-1, keepdims=True), -1, 0)


@lru_cache(maxsize=1)
def _load(path: Path) -> Network:
    return Network(path.read_bytes())


def resample(probabilities: np.ndarray, region: Region, to_crop: np.ndarray, size: int) -> np.ndarray:
    """Carry probabilities [6,256,256] of ``region`` over to the crop that ``to_crop`` maps the picture to."""
    there = np.concatenate((invert(region.to_crop(EDGE)), [[0.0, 0.0, 1.0]]))
    stacked = np.ascontiguousarray(np.moveaxis(probabilities, 0, -1))
    # OpenCV warps at most four channels at once.
    parts = stacked[..., :3], stacked[..., 3:]
    halves = [warp(part, to_crop @ there, (size, size), replicate=True) for part in parts]
    return np.moveaxis(np.concatenate(halves, axis=-1), -1, 0)


def outline_parsing(pixels: np.ndarray, frame: FaceFrame) -> np.ndarray:
    """Parse a square [S,S,3] (uint8) by the face's outline and GrabCut (Rother et al. 2004); returns [6,S,S]."""
    import cv2

    size = pixels.shape[0]
    u, v = frame.coordinates(size)
    u = u - frame.center
    hull = frame.hull(size).astype(bool)
    head = (u / (frame.half_width * 1.35)) ** 2 + ((v - 0.05) / 0.85) ** 2 < 1
    body = (v > frame.chin) & (np.abs(u) < 0.25 + 1.2 * (v - frame.chin))
    mask = np.where(head | body, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    mask[hull] = cv2.GC_FGD
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(pixels), mask, None, *models, 3, cv2.GC_INIT_WITH_MASK)
    person = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)) & (head | body)
    neck = (v > frame.chin) & (np.abs(u) < frame.half_width * 0.8) & (v < frame.chin + 0.3)
    labels = np.select(
        [hull, person & neck, person & (v > frame.chin), person], [Label.FACE, Label.BODY, Label.CLOTHES, Label.HAIR], 0
    )
    layers = [(labels == label).astype(np.float32) for label in Label]
    return np.stack([cv2.GaussianBlur(layer, (0, 0), size / 256) for layer in layers])
