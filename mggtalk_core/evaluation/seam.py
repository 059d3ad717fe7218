"""How well the head is joined to what is behind it: gradients along its border against the truth's."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..portrait.face_frame import FaceFrame
from .metrics import Image, Mask

REACH = 6
"""Half of the width of the band along the border, pixels."""


def border_bands(matte: Mask, landmarks: Float[Tensor, "478 d"], reach: int = REACH) -> dict[str, Mask]:
    """Return 1 within ``reach`` pixels of the border of the head (``border``), and where that lies below the jaw.

    The latter, ``neck``, is where head and torso-background meet on skin and clothes. A square crop is expected.
    """
    import cv2

    inside = (matte[0] > 0.5).numpy().astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    # The edge of the picture is no border of the head.
    padded = cv2.copyMakeBorder(inside, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    band = (cv2.dilate(padded, kernel) - cv2.erode(padded, kernel))[reach:-reach, reach:-reach]
    frame = FaceFrame.from_landmarks(landmarks.double().numpy())
    u, v = frame.coordinates(matte.shape[1])
    border = torch.from_numpy(band).float()
    return {"border": border[None], "neck": (border * torch.from_numpy(v > frame.jaw(u)))[None]}


def seam_error(image: Image, truth: Image, band: Mask) -> float:
    """Return the mean length of the difference of the two pictures' gradients in a band, in percent of full range.

    A line that the truth does not have counts as much as one that is missing; a change of tone on both sides does not
    count. NaN where the band is empty.
    """
    off = image - truth
    across, down = off.diff(dim=-1)[:, 1:], off.diff(dim=-2)[:, :, 1:]
    length = (across.square() + down.square()).sqrt().mean(dim=0)
    weight = band[0, 1:, 1:]
    total = float(weight.sum())
    return 100.0 * float((length * weight).double().sum()) / total if total > 0.0 else math.nan
