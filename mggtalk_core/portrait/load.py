"""From a picture to a `Portrait`."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..parallel import one_thread
from ..progress import OnStep, ignore_steps
from ..weights.resolver import resolve
from .background import torso_background
from .crop import choose_crop, wide_region
from .face_frame import FaceFrame
from .landmarker import TASK, Face, FaceLandmarker, face_region
from .matte import head_matte
from .matte_edit import MatteEdit, edited
from .parsing import Parser, resample
from .portrait import CROP_SIZE, Portrait
from .warp import Region, apply, warp

SMALLEST_FACE = 32
"""Height in pixels: landmarks of smaller faces are off by more than 2.5 % of the distance between the eyes."""
FINE_SHARE = 0.65
"""Weight of the crop's own parsing beside that of the wider square, which has more context but fewer pixels."""

_landmarker = cache(FaceLandmarker)


@one_thread()
def load_portrait(
    image: Float[Tensor, "3 height width"],
    *,
    face: int | None = None,
    matte: MatteEdit | None = None,
    on_step: OnStep = ignore_steps,
) -> Portrait:
    """Find the head in a picture and take it apart (paper: semantic parsing to ``I_s^h`` and ``I_s^bg``).

    Args:
        image: sRGB in 0..1.
        face: which face, 0 the largest; the largest when None.
        matte: what the user changes about the head matte.
        on_step: called while networks are fetched, at first use.

    Raises:
        InputError: no face, no such face, a face too small to animate, or an unusable mask.
        WeightsError: the landmark networks cannot be had (without the parsing network it warns and goes on).
    """
    # Asked for at every call: the resolver keeps account of the weights that were used.
    resolve(TASK, on_step=on_step)
    parser = Parser(on_step=on_step)
    source = image.detach().to("cpu", torch.float32).clamp(0.0, 1.0)
    floats = np.ascontiguousarray(source.permute(1, 2, 0).numpy())
    bytes_ = np.round(floats * 255.0).astype(np.uint8)
    faces = _landmarker().detect(bytes_)
    chosen = _choose_face(faces, face)
    others = [other.landmarks.double().numpy() for other in faces if other is not chosen]
    found = _landmarker().refine(bytes_, face_region(chosen.landmarks.double().numpy()), precise=True)
    landmarks = found.landmarks.double().numpy()
    region, probabilities = _crop_and_parse(parser, bytes_, landmarks)
    return _take_apart(source, floats, found, others, region, probabilities, matte or MatteEdit())


def _crop_and_parse(parser: Parser, image: np.ndarray, landmarks: np.ndarray) -> tuple[Region, np.ndarray]:
    """Choose the crop by a first parsing of a wide square; returns it and the parsing [6,512,512] of the crop."""
    frame = FaceFrame.from_landmarks(landmarks)
    wide = wide_region(frame)
    coarse = parser.parse(image, wide, landmarks)
    region = choose_crop(frame, wide, coarse, image.shape[1], image.shape[0])
    fine = parser.parse(image, region, landmarks)
    to_crop = region.to_crop(CROP_SIZE)
    fine, coarse = (resample(p, square, to_crop, CROP_SIZE) for p, square in ((fine, region), (coarse, wide)))
    return region, FINE_SHARE * fine + (1.0 - FINE_SHARE) * coarse


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
    source: Tensor,
    floats: np.ndarray,
    face: Face,
    others: list[np.ndarray],
    region: Region,
    probabilities: np.ndarray,
    edit: MatteEdit,
) -> Portrait:
    """Cut the crop, its matte and the layer behind the head."""
    to_crop = region.to_crop(CROP_SIZE)
    scale = CROP_SIZE / region.size
    crop = np.clip(warp(floats, to_crop, (CROP_SIZE, CROP_SIZE), smooth=True, replicate=True), 0.0, 1.0)
    landmarks = _moved(face.landmarks.double().numpy(), to_crop, scale)
    frame = FaceFrame.from_landmarks(landmarks)
    inside = _inside(to_crop, floats.shape[1], floats.shape[0])
    rivals = [FaceFrame.from_landmarks(_moved(other, to_crop, scale)) for other in others]
    matte = edited(head_matte(probabilities, crop, frame, inside, rivals), edit, to_crop, floats.shape[:2])
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
