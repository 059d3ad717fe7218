"""Clips as evaluations read them: one locked crop, every k-th frame."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..media.video import VideoReader
from ..portrait.portrait import CROP_SIZE
from ..portrait.warp import warp
from ..progress import OnStep

Item = TypeVar("Item")


@dataclass(frozen=True)
class Sampling:
    """Which frames of a clip are used."""

    every: int = 1
    """Every how many frames one is driven and scored; all of them are tracked."""
    max_frames: int | None = None
    """How many frames of the clip are read at most."""
    first: int = 0
    """Frame that the clip starts with; those before it are passed over, and frames are counted from it."""

    def __post_init__(self) -> None:
        """Refuse what is no count."""
        if self.every < 1 or (self.max_frames is not None and self.max_frames < 1):
            raise InputError("Frames are counted from 1: give a step and a largest number of at least 1.")

    def read(self, reader: VideoReader) -> int:
        """Return how many frames of a clip are read."""
        left = max(reader.frame_count - self.first, 0)
        return left if self.max_frames is None else min(self.max_frames, left)

    def used(self, reader: VideoReader) -> range:
        """Return the frames that are driven and scored."""
        return range(0, self.read(reader), self.every)

    def frames(self, reader: VideoReader) -> Iterator[np.ndarray]:
        """Yield all frames that are read."""
        return itertools.islice(iter(reader), self.first, self.first + self.read(reader))

    def sampled(self, reader: VideoReader) -> Iterator[np.ndarray]:
        """Yield the frames that are driven and scored."""
        return itertools.islice(self.frames(reader), 0, None, self.every)


def cropped(frame: np.ndarray, transform: Float[Tensor, "2 3"]) -> np.ndarray:
    """Return the crop of a frame, uint8 [512,512,3], by a map from its pixels to the crop's."""
    size = (CROP_SIZE, CROP_SIZE)
    return warp(frame, transform.double().numpy(), size, smooth=True, replicate=True)


def inside_frame(width: int, height: int, transform: Float[Tensor, "2 3"]) -> Float[Tensor, "1 512 512"]:
    """Return 1 where the crop shows a picture of ``width`` x ``height`` pixels, 0 beyond its border."""
    linear, offset = transform[:, :2].double(), transform[:, 2].double()
    ticks = torch.arange(CROP_SIZE, dtype=torch.float64) + 0.5
    x, y = torch.meshgrid(ticks, ticks, indexing="xy")
    places = (torch.stack((x, y), dim=-1) - offset) @ torch.linalg.inv(linear).T
    limits = torch.tensor([width, height], dtype=torch.float64)
    return ((places >= 0.0) & (places <= limits)).all(dim=-1).float()[None]


def to_image(frame: np.ndarray) -> Float[Tensor, "3 height width"]:
    """Turn uint8 [H,W,3] into an image in 0..1."""
    return torch.from_numpy(frame).permute(2, 0, 1).float() / 255.0


def to_frame(image: Float[Tensor, "3 height width"]) -> np.ndarray:
    """Turn an image in 0..1 into uint8 [H,W,3]."""
    pixels = (image.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)
    return pixels.permute(1, 2, 0).contiguous().cpu().numpy()


def total_frames(clips: Sequence[str | os.PathLike[str]], sampling: Sampling) -> tuple[int, int]:
    """Return how many frames of these clips are read, and how many used; clips that cannot be read count as none."""
    read = used = 0
    for clip in clips:
        try:
            reader = VideoReader(clip)
            read, used = read + sampling.read(reader), used + len(sampling.used(reader))
        except InputError:
            continue  # it will be reported in its row
    return read, used


class Steps:
    """Adds the steps of many parts up to one progress."""

    def __init__(self, total: int, on_step: OnStep) -> None:
        """Start at 0 of ``total``."""
        self._done, self._total, self._on_step = 0, total, on_step

    def one(self, count: int = 1) -> None:
        """Count one step, or several."""
        self._done += count
        self._on_step(min(self._done, self._total), self._total)

    def alive(self, done: int = 0, total: int = 0) -> None:
        """Say that work goes on, without a step."""
        self._on_step(min(self._done, self._total), self._total)


def alive(items: Iterable[Item], on_step: OnStep) -> Iterator[Item]:
    """Yield the items and say before each that work goes on, without a step."""
    for item in items:
        on_step(0, 0)
        yield item
