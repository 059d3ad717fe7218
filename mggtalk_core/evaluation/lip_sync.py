"""LSE-C and LSE-D: how surely, and how well, lips fit the sound by SyncNet's judgement (Prajwal et al. 2020, 4.1).

What the published measurement does is done here, so that the figures can be laid beside others': 25 pictures a second,
the face's square from a median of its box over half a second, gaps beyond the picture grey, offsets of up to 15 frames
either way, and nothing (zeros) where a clip has no sound to an offset. Of the sound only what is heard along with the
pictures counts. Two things differ: the box is that of our landmarks, not of a detector of its own, and it is cut out of
the portrait's crop, the real face like the rendered one, so that both are judged alike.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..media.sound import Sound
from .syncnet import COEFFICIENTS, EDGE, FRAMES, STEPS
from .syncnet_sound import SAMPLE_RATE, samples_of, speech_coefficients
from .tables import Row

if TYPE_CHECKING:
    from ..portrait.landmarker import Face

FPS = 25
REACH = 15
"""Frames by which the sound is moved either way."""
LEAST_PIECES = 2 * REACH + 1
"""Pieces of five pictures below which hardly one is heard at the farthest offsets: the scores would mean nothing."""
MARGIN = 0.4
"""By which part of half the box's longer edge the square goes beyond the box; all of it below, half of it above."""
BLANK = 110
"""Level of what lies beyond the picture."""
MEDIAN = 13
"""Frames over which the face's box is taken; they lie around each frame."""
_BATCH = 64


class Listener(Protocol):
    """What is asked of the network; see `SyncNet`."""

    def sound(self, coefficients: Float[Tensor, "n 1 13 20"]) -> Float[Tensor, "n d"]:
        """Return where pieces of sound lie."""
        ...

    def lips(self, pictures: Float[Tensor, "n 3 5 224 224"]) -> Float[Tensor, "n d"]:
        """Return where pieces of picture lie."""
        ...


class LipSync(NamedTuple):
    """What SyncNet says of a clip."""

    confidence: float
    """LSE-C: by how much the best offset is nearer than the median one; more is better."""
    distance: float
    """LSE-D: mean distance of lips and sound at the best offset; less is better."""
    late: float
    """Frames by which the sound comes after the lips at the best offset."""


_UNKNOWN = LipSync(math.nan, math.nan, math.nan)


def lip_sync(lips: Float[Tensor, "n d"], sound: Float[Tensor, "n d"]) -> LipSync:
    """Return the scores of embedded pieces, of which the i-th of the lips and of the sound belong together."""
    padded = functional.pad(sound, (0, 0, REACH, REACH))
    offsets = [padded[start : start + len(lips)] for start in range(2 * REACH + 1)]
    distances = torch.stack([functional.pairwise_distance(lips, moved).mean() for moved in offsets])
    best = int(distances.argmin())
    least = float(distances[best])
    return LipSync(float(distances.median()) - least, least, best - REACH)


def shown_at(place: int, fps: float) -> int:
    """Return which frame of a run of ``fps`` frames a second is the one at ``place``, counted 25 times a second."""
    return math.floor(place * fps / FPS + 0.5)


class LipReader:
    """Embeds the lips of a run of pictures, frame after frame; of the pictures only the last few are kept."""

    def __init__(self, network: Listener, fps: float) -> None:
        """Start before the first frame of a run of ``fps`` frames a second."""
        self._network, self._fps = network, fps
        self._seen = self._used = 0
        self._boxes: deque[np.ndarray | None] = deque(maxlen=MEDIAN)
        self._frames: deque[np.ndarray] = deque(maxlen=MEDIAN // 2 + 1)
        self._crops: deque[np.ndarray] = deque(maxlen=FRAMES)
        self._pieces: list[Float[Tensor, "d"]] = []
        self._lost = False

    def add(self, frame: np.ndarray, face: Face | None) -> None:
        """Take the next frame, uint8 [H,W,3], as often as 25 frames a second show it."""
        while shown_at(self._used, self._fps) == self._seen:
            self._push(frame, None if face is None else face_box(face.landmarks))
            self._used += 1
        self._seen += 1

    def pieces(self) -> Float[Tensor, "n d"] | None:
        """End the run and return where each five pictures lie; None where a face was missing for too long."""
        waiting = min(MEDIAN // 2, self._used)
        for left in range(waiting, 0, -1):
            self._boxes.append(None)
            self._crop(self._frames[-left])
        return None if self._lost or not self._pieces else torch.stack(self._pieces)

    def _push(self, frame: np.ndarray, box: np.ndarray | None) -> None:
        self._boxes.append(box)
        self._frames.append(frame)
        if self._used >= MEDIAN // 2:
            self._crop(self._frames[0])

    def _crop(self, frame: np.ndarray) -> None:
        boxes = [box for box in self._boxes if box is not None]
        if not boxes:
            self._lost = True
            return
        self._crops.append(face_square(frame, np.median(boxes, axis=0)))
        if len(self._crops) == FRAMES:
            pictures = torch.from_numpy(np.stack(self._crops)[..., ::-1].copy()).permute(3, 0, 1, 2).float()
            self._pieces.append(self._network.lips(pictures[None])[0])


def face_box(landmarks: Float[Tensor, "478 d"]) -> Float[np.ndarray, "3"]:
    """Return the centre (x, y) of a face's box in pixels, and half its longer edge."""
    points = landmarks[:468, :2].double().numpy()
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array([*(low + high) / 2.0, (high - low).max() / 2.0])


def square_place(box: Float[np.ndarray, "3"]) -> tuple[int, int, int]:
    """Return left, top and edge of the square around a face's box (`face_box`), in whole pixels."""
    x, y, half = (float(value) for value in box)
    return round(x - half * (1.0 + MARGIN)), round(y - half), max(1, round(2.0 * half * (1.0 + MARGIN)))


def face_square(frame: np.ndarray, box: Float[np.ndarray, "3"]) -> np.ndarray:
    """Return the square around a face, uint8 [224,224,3]: more of it below the box than above, for the chin."""
    import cv2

    left, top, edge = square_place(box)
    square = np.full((edge, edge, 3), BLANK, np.uint8)
    height, width = frame.shape[:2]
    rows, columns = slice(max(top, 0), min(top + edge, height)), slice(max(left, 0), min(left + edge, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        square[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = frame[rows, columns]
    return cv2.resize(square, (EDGE, EDGE), interpolation=cv2.INTER_LINEAR)


@torch.no_grad()
def sound_pieces(network: Listener, sound: Sound, seconds: float) -> Float[Tensor, "n d"]:
    """Return where each fifth of a second of the first ``seconds`` of a sound lies, 25 of them a second."""
    samples = samples_of(sound)[: round(seconds * SAMPLE_RATE)]
    count = max(0, len(samples) * FPS // SAMPLE_RATE - FRAMES)
    columns = torch.from_numpy(speech_coefficients(samples)).float() if count else torch.zeros(COEFFICIENTS, STEPS)
    windows = columns.unfold(1, STEPS, STEPS // FRAMES)[:, :count].transpose(0, 1)[:, None]
    return torch.cat([network.sound(each) for each in windows.split(_BATCH)]) if count else torch.zeros(0, 1)


class SyncWatch:
    """Judges the rendered and the real lips of one clip by the same sound."""

    def __init__(self, network: Listener, fps: float) -> None:
        """Start before the first frame."""
        self._network, self._fps, self._count = network, fps, 0
        self._driven, self._truth = LipReader(network, fps), LipReader(network, fps)

    @torch.no_grad()
    def add(self, driven: tuple[np.ndarray, Face | None], truth: tuple[np.ndarray, Face | None]) -> None:
        """Take the next frame, rendered and real, uint8 [H,W,3], each with the face that was found in it."""
        self._driven.add(*driven)
        self._truth.add(*truth)
        self._count += 1

    @torch.no_grad()
    def row(self, sound: Sound) -> Row:
        """Return the scores; NaN where the run is too short or a face was lost.

        ``lse_pieces`` is how many pieces they are the means of, ``lse_late`` by how many frames the sound is late.
        """
        heard = sound_pieces(self._network, sound, self._count / self._fps)
        row: Row = {}
        for ending, reader in (("", self._driven), ("_truth", self._truth)):
            seen = reader.pieces()
            count = 0 if seen is None else min(len(seen), len(heard))
            found = lip_sync(seen[:count], heard[:count]) if count >= LEAST_PIECES else _UNKNOWN
            row |= {"lse_c" + ending: found.confidence, "lse_d" + ending: found.distance}
            row |= {"lse_late" + ending: found.late, "lse_pieces" + ending: count}
        return row
