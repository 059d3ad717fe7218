"""The scores that need networks of their own: how different pictures look, and whom they show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from ..errors import WeightsError
from .metrics import Image, Mask
from .regions import face_box

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..portrait.landmarker import Face
    from .identity import Identity
    from .perceptual import Lpips

Network = TypeVar("Network")


@dataclass(frozen=True)
class Scorers:
    """Networks that judge; a score whose network is not there is left out, and nothing stands in for it."""

    lpips: Lpips | None = None
    identity: Identity | None = None
    left_out: tuple[str, ...] = ()
    """One line for every score that is left out."""


def find_scorers() -> Scorers:
    """Return the judges whose weights are here or can be fetched."""
    from .identity import Identity
    from .perceptual import Lpips

    lines: list[str] = []
    lpips, identity = attempt("lpips", Lpips, lines), attempt("identity", Identity, lines)
    return Scorers(lpips, identity, tuple(lines))


def attempt(score: str, read: Callable[[], Network], lines: list[str]) -> Network | None:
    """Read the network of a score; where it cannot be had, append the line that says so and return None."""
    try:
        return read()
    except WeightsError as error:
        lines.append(f"{score}: {error}")
        return None


@torch.no_grad()
def perceptual_scores(
    lpips: Lpips,
    images: Mapping[str, Image],
    truth: Image,
    regions: Mapping[str, Mask],
    landmarks: Float[Tensor, "478 d"] | None,
) -> dict[str, dict[str, float]]:
    """Return LPIPS of every picture against the truth, by picture and region, at the crop's own 512 pixels.

    ``whole`` and ``head`` are means of one map of distances under the regions' masks; ``face`` is the distance of the
    face's box alone, so that the smallest parts are not lost in the whole.
    """
    batch, wanted = torch.stack(list(images.values())).float(), truth[None].float()
    masks = {name: regions[name][None] for name in ("whole", "head") if name in regions}
    distances = lpips.regional(batch, wanted, masks)
    if landmarks is not None:
        x0, y0, x1, y1 = face_box(landmarks)
        distances["face"] = lpips(batch[:, :, y0:y1, x0:x1], wanted[:, :, y0:y1, x0:x1].expand(len(batch), -1, -1, -1))
    return {
        way: {f"lpips_{name}": float(values[place]) for name, values in distances.items()}
        for place, way in enumerate(images)
    }


def identity_scores(
    identity: Identity,
    images: Mapping[str, Image],
    faces: Mapping[str, Face | None],
    truth: Image,
    landmarks: Float[Tensor, "478 d"],
) -> dict[str, float]:
    """Return the cosine between the person in every picture and the one in the truth; NaN where no face is seen.

    ``landmarks`` are those of the truth.
    """
    wanted = identity.embedding(truth, landmarks)
    return {
        way: math.nan if (seen := faces.get(way)) is None else float(identity.embedding(image, seen.landmarks) @ wanted)
        for way, image in images.items()
    }
