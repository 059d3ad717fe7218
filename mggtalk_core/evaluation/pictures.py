"""Scores of pictures, region by region, and the frames kept for the contact sheet."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..portrait.landmarker import Face
from .metrics import Image, Mask, regional_scores
from .regions import EYES, MOUTH, close_up
from .sheets import SheetRow, contact_sheet, difference
from .tables import Row

CLOSE_UP = 192


class PictureScores:
    """PSNR and SSIM of pictures against the truth, averaged over frames, for each region."""

    def __init__(self, suffix: str = "") -> None:
        """Start empty; ``suffix`` ends the names of the scores."""
        self._suffix = suffix
        self._values: dict[str, list[float]] = {}

    def add(self, image: Image, truth: Image, regions: dict[str, Mask]) -> None:
        """Score one frame in every region."""
        for name, value in regional_scores(image, truth, regions).items():
            self._values.setdefault(name + self._suffix, []).append(value)

    def means(self) -> Row:
        """Return the mean of every score over the frames in which it is finite."""
        finite = {name: [value for value in values if math.isfinite(value)] for name, values in self._values.items()}
        return {name: sum(values) / len(values) if values else math.nan for name, values in finite.items()}


@dataclass(frozen=True)
class Sample:
    """A frame kept for the contact sheet."""

    index: int
    driver: Image
    driven: Image
    driver_face: Face | None
    driven_face: Face | None


def sample_indices(count: int, wanted: int = 6) -> set[int]:
    """Return up to ``wanted`` frames spread evenly over ``count``, the last one among them, without frame 0."""
    return {round((step + 1) * (count - 1) / wanted) for step in range(wanted)} - {0} if count > 1 else {0}


def sample_sheet(source: Image, samples: list[Sample], title: str, *, compare: bool) -> Image:
    """Return a contact sheet: driver, driven face, close-ups of eyes and mouth; the difference where ``compare``."""
    rows = [
        SheetRow("driver", [None, *(sample.driver for sample in samples)]),
        SheetRow("driven", [source, *(sample.driven for sample in samples)]),
    ]
    if compare:
        rows.append(SheetRow("difference x4", [None, *(difference(each.driven, each.driver) for each in samples)]))
    for name, points in (("eyes", EYES), ("mouth", MOUTH)):
        drivers = [_close_up(sample.driver, sample.driver_face, points) for sample in samples]
        driven = [_close_up(sample.driven, sample.driven_face, points) for sample in samples]
        rows += [SheetRow(f"{name} driver", [None, *drivers]), SheetRow(f"{name} driven", [None, *driven])]
    captions = ["source", *(f"frame {sample.index}" for sample in samples)]
    return contact_sheet(rows, captions, CLOSE_UP, title)


def _close_up(image: Image, face: Face | None, points: tuple[int, ...]) -> Image | None:
    return None if face is None else close_up(image, face.landmarks, points, CLOSE_UP)
