"""`Portrait`: everything that later stages need of the source picture."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor

from ..record import Record

CROP_SIZE = 512
"""Edge of the crop in pixels; the paper works at 512x512."""


@dataclass(frozen=True)
class Portrait(Record):
    """The source picture and what was seen in it (paper: semantic parsing to ``I_s^h`` and ``I_s^bg``).

    Pixel coordinates are continuous: the centre of the first pixel is (0.5, 0.5).
    """

    source: Float[Tensor, "3 height width"]
    """The picture as given: upright, alpha flattened, sRGB in 0..1."""
    crop: Float[Tensor, "3 512 512"]
    """The square around the head that every stage works on (``I_s``)."""
    crop_transform: Float[Tensor, "2 3"]
    """Affine map from source pixels to crop pixels, continuous coordinates."""
    matte: Float[Tensor, "1 512 512"]
    """Soft matte of the head: face, hair, ears, and the neck fading out below the jaw (head image ``I_s^h``)."""
    background: Float[Tensor, "3 512 512"]
    """Torso-background layer ``I_s^bg``: the crop with the head removed and the hole filled."""
    labels: UInt8[Tensor, "512 512"]
    """Parsing: 0 background, 1 hair, 2 body skin, 3 face skin, 4 clothes, 5 other (hats, glasses, scarves)."""
    landmarks: Float[Tensor, "478 3"]
    """Face mesh landmarks in crop pixels, z at the same scale (smaller is nearer); 468..477 are the irises."""
    blendshapes: Float[Tensor, "52"]
    """Raw output of the blendshape network in the order of `BLENDSHAPES`."""
    score: float
    """Confidence of the face detector in 0..1."""
