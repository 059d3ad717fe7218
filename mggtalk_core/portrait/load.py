"""From a picture to a `Portrait`."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .background import torso_background
from .crop import choose_crop, wide_region
from .face_frame import FaceFrame
from .landmarker import Face, FaceLandmarker, face_region
from .matte import head_matte
from .parsing import Parser, resample
from .portrait import CROP_SIZE, Portrait
from .warp import Region, apply, warp

SMALLEST_FACE = 32
"""Height in pixels: landmarks of smaller faces are off by more than 2.5 % of the distance between the eyes."""
FINE_SHARE = 0.65
"""Weight of the crop's own parsing beside that of the wider square, which has more context but fewer pixels."""

_landmarker = cache(FaceLandmarker)
_parser = cache(Parser)


def load_portrait(image: Float[Tensor, "3 height width"], *, face: int | None = None) -> Portrait:
    """Find the head in a picture and take it apart (paper: semantic parsing to ``I_s^h`` and ``I_s^bg``).

    Args:
        image: sRGB in 0..1.
        face: which face, 0 the largest; the largest when None.

    Raises:
        InputError: no face, no such face, or a face too small to animate.
    """
    source = image.detach().to("cpu", torch.float32).clamp(0.0, 1.0)
    floats = np.ascontiguousarray(source.permute(1, 2, 0).numpy())
    bytes_ = np.round(floats * 255.0).astype(np.uint8)
    found = _choose_face(_landmarker().detect(bytes_), face)
    found = _landmarker().refine(bytes_, face_region(found.landmarks.double().numpy()), precise=True)
    landmarks = found.landmarks.double().numpy()
    wide = wide_region(FaceFrame.from_landmarks(landmarks))
    coarse = _parser().parse(bytes_, wide, landmarks)
    region = choose_crop(FaceFrame.from_landmarks(landmarks), wide, coarse, bytes_.shape[1], bytes_.shape[0])
    to_crop = region.to_crop(CROP_SIZE)
    fine = _parser().parse(bytes_, region, landmarks)
    share = (FINE_SHARE, 1.0 - FINE_SHARE)
    parsings = [resample(p, r, to_crop, CROP_SIZE) for p, r in ((fine, region), (coarse, wide))]
    probabilities = share[0] * parsings[0] + share[1] * parsings[1]
    return _take_apart(source, floats, found, region, probabilities)


def _choose_face(faces: list[Face], wanted: int | None) -> Face:
    """Return the wanted face of those found, largest first."""
    if not faces:
        raise InputError(
            f"No face found: use a picture in which one face is at least {SMALLEST_FACE} pixels high, "
            "upright and not covered."
        )
    index = 0 if wanted is None else wanted
    if not 0 <= index < len(faces):
        raise InputError(f"There is no face {wanted}: the picture has {len(faces)}, counted from 0 for the largest.")
    if faces[index].size < SMALLEST_FACE:
        raise InputError(
            f"The face is only {faces[index].size:.0f} pixels high: use a picture in which it has at least "
            f"{SMALLEST_FACE}."
        )
    return faces[index]


def _take_apart(
    source: Tensor, floats: np.ndarray, face: Face, region: Region, probabilities: np.ndarray
) -> Portrait:
    """Cut the crop, its matte and the layer behind the head."""
    to_crop = region.to_crop(CROP_SIZE)
    size = (CROP_SIZE, CROP_SIZE)
    crop = np.clip(warp(floats, to_crop, size, smooth=True, replicate=True), 0.0, 1.0)
    landmarks = _moved(face.landmarks.double().numpy(), to_crop, CROP_SIZE / region.size)
    frame = FaceFrame.from_landmarks(landmarks)
    inside = _inside(to_crop, floats.shape[1], floats.shape[0])
    matte = head_matte(probabilities, crop, frame, inside)
    background = torso_background(crop, matte, probabilities, frame, inside)
    # Beyond the picture's border only the head was continued; the rest there is the filled background.
    beyond = crop * matte[..., None] + background * (1.0 - matte[..., None])
    crop = np.where(inside[..., None], crop, beyond)
    return Portrait(
        source=source,
        crop=_planes(crop),
        crop_transform=torch.from_numpy(to_crop).float(),
        matte=torch.from_numpy(matte)[None],
        background=_planes(background),
        labels=torch.from_numpy(probabilities.argmax(axis=0).astype(np.uint8)),
        landmarks=torch.from_numpy(landmarks).float(),
        blendshapes=face.blendshapes,
        score=face.score,
    )


def _moved(landmarks: np.ndarray, to_crop: np.ndarray, scale: float) -> np.ndarray:
    """Map landmarks [478,3] into the crop; z scales along."""
    return np.concatenate((apply(to_crop, landmarks[:, :2]), landmarks[:, 2:] * scale), axis=1)


def _inside(to_crop: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return bool [512,512]: whether the crop's pixel lies in the picture (a box: the crop is turned by quarters)."""
    corners = apply(to_crop, np.array([[0.0, 0.0], [width, height]]))
    low, high = corners.min(axis=0), corners.max(axis=0)
    ticks = np.arange(CROP_SIZE) + 0.5
    columns, rows = ((ticks >= low[axis]) & (ticks <= high[axis]) for axis in (0, 1))
    return rows[:, None] & columns[None, :]


def _planes(image: np.ndarray) -> Float[Tensor, "3 512 512"]:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0), dtype=np.float32))
