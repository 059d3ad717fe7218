"""Maps that other programs made of a portrait, brought onto the pixels of its crop."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .portrait import CROP_SIZE, Portrait
from .warp import invert, to_indices


def on_crop(values: Float[Tensor, "c h w"], portrait: Portrait, *, smooth: bool = True) -> Float[Tensor, "c 512 512"]:
    """Return a map of the crop, of any size, or of the whole picture, on the crop's pixels; NaN beyond the picture.

    Args:
        values: a square map is taken for the crop's, unless it has exactly the picture's size.
        portrait: whose crop.
        smooth: interpolate; otherwise every pixel takes the nearest value, and nothing is blended across a hole.

    Raises:
        InputError: a map of another shape.
    """
    shape = tuple(values.shape[-2:])
    if shape == (CROP_SIZE, CROP_SIZE):
        return values
    if shape == tuple(portrait.source.shape[-2:]):
        return _cut(values, portrait, smooth)
    if shape[0] != shape[1]:
        height, width = portrait.source.shape[-2:]
        raise InputError(
            f"The map is {shape[1]}x{shape[0]}: make it of the square crop or of the whole picture, {width}x{height}."
        )
    how = {"mode": "bilinear", "antialias": True} if smooth else {"mode": "nearest-exact"}
    return torch.nn.functional.interpolate(values[None], (CROP_SIZE, CROP_SIZE), **how)[0]


def _cut(values: Float[Tensor, "c h w"], portrait: Portrait, smooth: bool) -> Float[Tensor, "c 512 512"]:
    import cv2

    to_picture = to_indices(invert(portrait.crop_transform.double().cpu().numpy()))
    flags = (cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST) | cv2.WARP_INVERSE_MAP
    planes = [
        cv2.warpAffine(
            np.ascontiguousarray(plane.float().cpu().numpy()), to_picture, (CROP_SIZE, CROP_SIZE), flags=flags,
            borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan,
        )
        for plane in values
    ]  # fmt: skip
    return torch.from_numpy(np.stack(planes))
