"""Finding faces: Google's short-range BlazeFace over the whole picture, and over tiles for small faces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .networks import Network
from .warp import Region, apply, invert, warp

EDGE = 128
MIN_SCORE = 0.5
OVERLAP = 0.3
UPRIGHT_BONUS = 0.05
"""A turned picture must look this much better before it is believed to be one."""
SMALL = 0.2
"""A face below this share of the picture's longer side is looked for again in tiles."""
TILE_LEVELS = (2, 4)
"""Tiles are the picture's longer side divided by these."""


@dataclass(frozen=True)
class Detection:
    """A face in picture pixels."""

    box: np.ndarray
    """Left, top, right, bottom."""
    keypoints: np.ndarray
    """[6,2]: the subject's right eye, left eye, nose tip, mouth, right ear, left ear."""
    score: float

    @property
    def size(self) -> float:
        """Longer side of the box."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    def region(self, grow: float = 1.5) -> Region:
        """Return the upright square around the face that the landmark network wants."""
        across = self.keypoints[1] - self.keypoints[0]
        return Region((self.box[:2] + self.box[2:]) / 2, self.size * grow, float(np.arctan2(across[1], across[0])))


def _anchors() -> np.ndarray:
    """Centres [896,2] of BlazeFace's anchors in 0..1: two per cell of a 16 grid, six per cell of an 8 grid."""
    grids = []
    for cells, repeats in ((16, 2), (8, 6)):
        ticks = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
        grids.append(grid.repeat(repeats, axis=0))
    return np.concatenate(grids)


class FaceDetector:
    """Finds faces of any size and quarter turn."""

    def __init__(self, network: Network) -> None:
        """Wrap the BlazeFace network (input [1,128,128,3] in -1..1)."""
        self._network = network
        self._anchors = _anchors()

    def attempts(self, image: np.ndarray, turns: tuple[int, ...] = (0, 1, 3, 2)) -> Iterator[list[Detection]]:
        """Yield what is found in a picture [H,W,3] (uint8), best first, with each number of quarter turns in ``turns``.

        The caller stops at the first attempt that holds a face. Each looks at tiles too when there is no face or only
        small ones.
        """
        for angle in self._ranked(image, [quarters * np.pi / 2 for quarters in turns]):
            yield self._detect_turned(image, angle)

    def _ranked(self, image: np.ndarray, angles: list[float]) -> list[float]:
        """Put another angle first if the whole picture shows a face there more surely: faces upside down are seen."""
        if len(angles) == 1:
            return angles
        scores = np.array([max((face.score for face in self._whole(image, angle)), default=0.0) for angle in angles])
        if scores[0] == 0.0:
            return angles
        scores[0] += UPRIGHT_BONUS
        return [angles[index] for index in np.argsort(-scores, kind="stable")]

    def _whole(self, image: np.ndarray, angle: float) -> list[Detection]:
        """Find the larger faces in the picture turned by ``angle``: one run of the network."""
        height, width = image.shape[:2]
        return suppress(self._candidates(image, Region(np.array([width / 2, height / 2]), max(height, width), angle)))

    def _detect_turned(self, image: np.ndarray, angle: float) -> list[Detection]:
        height, width = image.shape[:2]
        longer = max(height, width)
        found = self._whole(image, angle)
        for level in TILE_LEVELS:
            if longer / level < EDGE / 2 or any(face.size > SMALL * 2 * longer / level for face in found):
                break
            tiles = [d for tile in _tiles(width, height, longer / level, angle) for d in self._candidates(image, tile)]
            found = suppress(found + tiles)
        return found

    def _candidates(self, image: np.ndarray, region: Region) -> list[Detection]:
        """Run the network on one square and return all boxes above the threshold, unmerged."""
        to_crop = region.to_crop(EDGE)
        pixels = warp(image, to_crop, (EDGE, EDGE)).astype(np.float32) / 127.5 - 1.0
        outputs = self._network(pixels[None])
        boxes, logits = sorted((output[0] for output in outputs), key=lambda output: -output.shape[-1])
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits[:, 0], -80, 80)))
        back = invert(to_crop)
        return [
            self._decode(boxes[index], self._anchors[index] * EDGE, float(scores[index]), back)
            for index in np.flatnonzero(scores >= MIN_SCORE)
        ]

    @staticmethod
    def _decode(values: np.ndarray, anchor: np.ndarray, score: float, back: np.ndarray) -> Detection:
        """Turn 16 regressed numbers (centre, size, six points; pixels of the crop) into a `Detection`."""
        center = apply(back, (anchor + values[:2])[None])[0]
        half = values[2:4] * np.sqrt(abs(np.linalg.det(back[:, :2]))) / 2
        points = apply(back, anchor + values[4:].reshape(6, 2))
        return Detection(np.concatenate((center - half, center + half)), points, score)


def _tiles(width: int, height: int, edge: float, angle: float) -> Iterator[Region]:
    """Yield squares of ``edge`` pixels that cover the picture, overlapping by half."""
    for y in _starts(height, edge):
        for x in _starts(width, edge):
            yield Region(np.array([x, y]) + edge / 2, edge, angle)


def _starts(length: int, edge: float) -> np.ndarray:
    """Return where tiles of ``edge`` begin along a side, at most half a tile apart; one centred tile if it covers."""
    if length <= edge:
        return np.array([(length - edge) / 2])
    return np.linspace(0.0, length - edge, int(np.ceil((length - edge) / (edge / 2))) + 1)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes, or over the smaller when one lies inside the other."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = float(np.prod(np.maximum(high - low, 0.0)))
    areas = float(np.prod(a[2:] - a[:2])), float(np.prod(b[2:] - b[:2]))
    return max(common / max(sum(areas) - common, 1e-9), 0.5 * common / max(min(areas), 1e-9))


def suppress(found: list[Detection]) -> list[Detection]:
    """Merge overlapping detections: each group becomes its mean weighted by score, which steadies the box."""
    rest = sorted(found, key=lambda face: -face.score)
    merged = []
    while rest:
        group = [face for face in rest if _overlap(rest[0].box, face.box) > OVERLAP]
        rest = [face for face in rest if _overlap(rest[0].box, face.box) <= OVERLAP]
        weights = np.array([face.score for face in group])
        box = np.average([face.box for face in group], axis=0, weights=weights)
        points = np.average([face.keypoints for face in group], axis=0, weights=weights)
        merged.append(Detection(box, points, group[0].score))
    return merged
