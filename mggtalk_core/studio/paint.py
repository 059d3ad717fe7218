"""Paint for heads that have none: skin, lips, brows, eyes and hair by place on the mean head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from ..head.model import HeadModel
from ..head.parts import Part

LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""Face mesh landmarks on the outer border of the lips."""
BROWS = ((276, 283, 282, 295, 285, 336, 296, 334, 293, 300), (46, 53, 52, 65, 55, 107, 66, 105, 63, 70))
"""Face mesh landmarks around the left and the right brow."""
NOSTRILS = ((457, 458, 461, 354), (237, 238, 241, 125))
IRIS, PUPIL = 0.5, 0.18
"""Angles in radians from the middle of the pupil."""
CHART = 512
"""Edge of the chart in pixels; it covers `REACH` units to each side of its middle."""
REACH, MIDDLE_Y = 1.0, -0.35
SKIN_TONES = ((0.93, 0.76, 0.66), (0.86, 0.66, 0.53), (0.72, 0.51, 0.38), (0.5, 0.34, 0.25), (0.34, 0.22, 0.16))
HAIR_TONES = ((0.12, 0.09, 0.08), (0.3, 0.19, 0.12), (0.55, 0.4, 0.22), (0.45, 0.45, 0.45), (0.08, 0.08, 0.09))
IRIS_TONES = ((0.3, 0.18, 0.1), (0.35, 0.45, 0.55), (0.3, 0.4, 0.25))
TEETH, GUMS, MOUTH, SCLERA, DARK = (0.9, 0.87, 0.8), (0.7, 0.35, 0.35), (0.35, 0.12, 0.12), (0.93, 0.92, 0.9), 0.03


@dataclass(frozen=True)
class Paint:
    """The colours of one head, linear light."""

    skin: Float[Tensor, "3"]
    lips: Float[Tensor, "3"]
    hair: Float[Tensor, "3"]
    iris: Float[Tensor, "3"]
    blotches: Float[Tensor, "1 3 16 16"]
    """Slow variation of the skin over the face, factors around 1."""

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Paint:
        """Draw the colours of a head."""

        def one_of(tones: tuple[tuple[float, ...], ...]) -> Tensor:
            tone = np.array(tones[random.integers(len(tones))]) * random.uniform(0.85, 1.15)
            return torch.from_numpy(tone.clip(0.0, 1.0) ** 2.2).float()

        skin = one_of(SKIN_TONES)
        blotches = 1.0 + 0.06 * random.standard_normal((1, 1, 16, 16)) + 0.02 * random.standard_normal((1, 3, 16, 16))
        return cls(
            skin=skin,
            lips=skin * torch.tensor([0.85, 0.5, 0.5]),
            hair=one_of(HAIR_TONES),
            iris=one_of(IRIS_TONES),
            blotches=torch.from_numpy(blotches).float(),
        )


class FaceChart:
    """Where lips, brows and nostrils lie on the mean head, as masks over its frontal plane."""

    def __init__(self, model: HeadModel) -> None:
        """Draw the chart from the model's own landmarks."""
        import cv2

        landmarks = model.landmarks(model.mean)[:, :2].numpy()
        pixels = (landmarks - [0.0, MIDDLE_Y]) / REACH * [1.0, -1.0] * (CHART / 2) + CHART / 2
        masks = np.zeros((3, CHART, CHART), np.float32)
        for mask, outlines in zip(masks, ((LIPS,), BROWS, NOSTRILS), strict=True):
            for outline in outlines:
                polygon = pixels[list(outline)].round().astype(np.int32)
                cv2.fillPoly(mask, [cv2.convexHull(polygon)], 1.0)
        self._masks = torch.from_numpy(np.stack([cv2.GaussianBlur(mask, (0, 0), 3.0) for mask in masks]))

    def __call__(self, rest: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
        """Return how much each pixel belongs to lips, brows and nostrils, given its place on the mean head."""
        masks = grid_sample(self._masks[None], _chart_grid(rest), align_corners=False)[0]
        return masks * (rest[2] > -0.3)


def _chart_grid(rest: Float[Tensor, "3 height width"]) -> Float[Tensor, "1 height width 2"]:
    return torch.stack((rest[0] / REACH, -(rest[1] - MIDDLE_Y) / REACH), dim=-1)[None]


def albedo(
    paint: Paint,
    chart: FaceChart,
    rest: Float[Tensor, "3 height width"],
    part: Int[Tensor, "height width"],
    hair: Float[Tensor, "height width"],
    eye_centers: Float[Tensor, "2 3"],
) -> Float[Tensor, "3 height width"]:
    """Return the colour of every pixel in linear light.

    Args:
        paint: colours of the head.
        chart: where lips and brows are.
        rest: place on the mean head at rest.
        part: `Part` that is seen.
        hair: 1 on hair.
        eye_centers: of the mean head, left and right.
    """
    blotches = grid_sample(paint.blotches, _chart_grid(rest), align_corners=False, padding_mode="border")[0]
    colour = paint.skin[:, None, None] * blotches
    marks = chart(rest)
    for mask, tone in zip(marks, (paint.lips, paint.hair, paint.skin * 0.15), strict=True):
        colour = colour + mask * (tone[:, None, None] - colour)
    for kinds, tone in (((Part.TEETH,), TEETH), ((Part.GUMS, Part.TONGUE), GUMS), ((Part.MOUTH_SOCKET,), MOUTH)):
        inside = sum((part == int(kind)).float() for kind in kinds)
        colour = colour + inside * (colour.new_tensor(tone)[:, None, None] ** 2.2 - colour)
    for kind, center in zip((Part.EYE_LEFT, Part.EYE_RIGHT), eye_centers, strict=True):
        colour = torch.where(part == int(kind), _eyeball(paint, rest, center), colour)
    return colour + hair * (paint.hair[:, None, None] * blotches**2 - colour)


def _eyeball(
    paint: Paint, rest: Float[Tensor, "3 height width"], center: Float[Tensor, "3"]
) -> Float[Tensor, "3 height width"]:
    """Return sclera, iris and pupil by the angle from the eye's axis."""
    out = rest - center[:, None, None]
    angle = torch.atan2(out[:2].norm(dim=0), out[2])
    iris, pupil = (((limit - angle) / 0.05 + 0.5).clamp(0.0, 1.0) for limit in (IRIS, PUPIL))
    white = rest.new_tensor(SCLERA)[:, None, None] ** 2.2
    colour = white + iris * (paint.iris[:, None, None] - white)
    return colour + pupil * (DARK - colour)
