"""Mean absolute depth error, as normal integration is scored on DiLiGenT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError

NAMES = ("normal_map.png", "mask.png", "K.txt", "depth_gt.npz")
FULL = 65535.0
"""White in a picture of 16 bits."""


@dataclass(frozen=True)
class MeasuredObject:
    """A photometric-stereo object: normals to integrate and the depth that a scanner measured."""

    name: str
    normals: Float[Tensor, "3 height width"]
    """Camera axes: x right, y down, nz < 0 towards the viewer."""
    mask: Bool[Tensor, "height width"]
    intrinsics: tuple[float, float, float, float]
    """Focal x, focal y, principal x and y in pixels (pixel centres at +0.5)."""
    depth: Float[Tensor, "height width"]
    """Millimetres; 0 or NaN where it was not measured."""


def mean_absolute_depth_error(
    depth: Float[Tensor, "height width"],
    truth: Float[Tensor, "height width"],
    mask: Bool[Tensor, "height width"],
    *,
    perspective: bool,
) -> float:
    """Return MADE in the unit of ``truth``, after what integration leaves open is taken from the truth.

    That is the scale in perspective, the median of the ratios, and the offset in orthographic projection, the median of
    the differences (Cao et al., ECCV 2022). Pixels where either depth is unknown do not count.

    Raises:
        InputError: no pixel has both depths.
    """
    known = mask & torch.isfinite(depth) & torch.isfinite(truth) & (truth > 0)
    if not known.any():
        raise InputError("No pixel of the mask has both a depth and a true depth: compare maps of one object.")
    found, true = depth[known].double(), truth[known].double()
    aligned = found * (true / found).median() if perspective else found + (true - found).median()
    return float((aligned - true).abs().mean())


def measured_objects(folder: Path) -> Iterator[MeasuredObject]:
    """Read the objects of DiLiGenT's layout: a folder each, with normals, mask, camera matrix and true depth.

    Raises:
        InputError: there is no such object, or one cannot be read.
    """
    folders = sorted(each.parent for each in folder.glob(f"*/{NAMES[0]}"))
    if not folders:
        raise InputError(f"{folder} holds no object: give a folder of folders with {', '.join(NAMES)}.")
    for each in folders:
        missing = [name for name in NAMES if not (each / name).is_file()]
        if missing:
            raise InputError(f"{each} lacks {', '.join(missing)}: an object is made of {', '.join(NAMES)}.")
        yield _read(each)


def _read(folder: Path) -> MeasuredObject:
    import cv2

    picture, mask = (cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED) for name in NAMES[:2])
    if picture is None or mask is None or picture.dtype != np.uint16 or picture.shape[:2] != mask.shape[:2]:
        raise InputError(f"{folder}: {NAMES[0]} must have 16 bits a channel and {NAMES[1]} its size.")
    try:
        k = np.loadtxt(folder / NAMES[2])
        truth = np.load(folder / NAMES[3])["depth_gt"].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: {NAMES[2]} or {NAMES[3]} cannot be read ({error}).") from error
    # Stored as blue, green, red with y up and z to the viewer.
    normals = (picture[..., ::-1] / FULL * 2.0 - 1.0) * (1.0, -1.0, -1.0)
    inside = (mask if mask.ndim == 2 else mask[..., 0]) > 0
    return MeasuredObject(
        name=folder.name,
        normals=torch.from_numpy(np.ascontiguousarray(normals.transpose(2, 0, 1))),
        mask=torch.from_numpy(inside),
        # The published matrix counts pixel centres from 0.
        intrinsics=(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]) + 0.5, float(k[1, 2]) + 0.5),
        depth=torch.from_numpy(truth),
    )
