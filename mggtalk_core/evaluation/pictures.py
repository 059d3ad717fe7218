"""Scores of pictures, region by region, and the frames kept for the contact sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..portrait.landmarker import Face
from .metrics import Image, Mask, regional_scores, sharpness
from .regions import EYES, MOUTH, close_up
from .seam import seam_error
from .sheets import SheetRow, contact_sheet, difference, squared_difference
from .tables import Row

CLOSE_UP = 192
SQUARED_GAIN = 20.0
"""How much brighter squared differences are shown: a quarter of the full range off is white."""


def picture_scores(
    image: Image, truth: Image, regions: Mapping[str, Mask], bands: Mapping[str, Mask]
) -> dict[str, float]:
    """Return PSNR and SSIM in every region, the sharpness of the head over the truth's and the error of its seam."""
    scores = regional_scores(image, truth, dict(regions))
    if "head" in regions:
        scores["sharpness_head"] = sharpness(image, truth, regions["head"])
    return scores | {f"seam_{name}": seam_error(image, truth, band) for name, band in bands.items()}


class Scores:
    """Named scores of frames, averaged over those in which they are finite."""

    def __init__(self) -> None:
        """Start empty."""
        self._values: dict[str, list[float]] = {}

    def append(self, scores: Mapping[str, float]) -> None:
        """Take the scores of one frame."""
        for name, value in scores.items():
            self._values.setdefault(name, []).append(value)

    def means(self) -> Row:
        """Return the mean of every score over the frames in which it is finite."""
        finite = {name: [value for value in values if math.isfinite(value)] for name, values in self._values.items()}
        return {name: sum(values) / len(values) if values else math.nan for name, values in finite.items()}


class PictureScores(Scores):
    """PSNR and SSIM of pictures against the truth, averaged over frames, for each region."""

    def __init__(self, suffix: str = "") -> None:
        """Start empty; ``suffix`` ends the names of the scores."""
        super().__init__()
        self._suffix = suffix

    def add(self, image: Image, truth: Image, regions: dict[str, Mask]) -> None:
        """Score one frame in every region."""
        self.append({name + self._suffix: value for name, value in regional_scores(image, truth, regions).items()})


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


@dataclass(frozen=True)
class Compared:
    """A frame of several ways kept for the contact sheet: pictures by caption, and the faces found in them."""

    index: int
    pictures: dict[str, Image]
    faces: dict[str, Face | None]


def comparison_sheet(samples: list[Compared], title: str) -> Image:
    """Return a contact sheet with three rows a frame: the pictures, their eyes, their mouths.

    The last column is the squared difference of the last two pictures (the paper's figure 8), `SQUARED_GAIN` times.
    """
    rows: list[SheetRow] = []
    for sample in samples:
        images = list(sample.pictures.values())
        squared = squared_difference(images[-2], images[-1], SQUARED_GAIN)
        rows.append(SheetRow(f"frame {sample.index}", [*images, squared]))
        for name, points in (("eyes", EYES), ("mouth", MOUTH)):
            close = [_close_up(image, sample.faces.get(way), points) for way, image in sample.pictures.items()]
            rows.append(SheetRow(name, close))
    captions = [*(samples[0].pictures if samples else ()), f"difference^2 x{SQUARED_GAIN:.0f}"]
    return contact_sheet(rows, captions, CLOSE_UP, title)


def _close_up(image: Image, face: Face | None, points: tuple[int, ...]) -> Image | None:
    return None if face is None else close_up(image, face.landmarks, points, CLOSE_UP)
