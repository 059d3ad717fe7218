"""Integration of depth and normals that a network predicted, where no truth is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError
from ..geometry.bini import BiniOptions, Integration, integrate_normals
from ..geometry.normals import unit
from ..parallel import one_thread
from ..progress import OnStep, ignore_steps
from .sheets import SheetRow, contact_sheet
from .tables import Row, Table

WEIGHTS = (0.0, 1e-5, 1e-4, 1e-3)
"""``lambda`` of the depth prior; 0 integrates the normals alone."""
OPTIONS = BiniOptions(tolerance=1e-3, max_rounds=60, precision="float32")
STEEPEST = 0.15
"""Normals this far from the line of sight tell slopes that a pixel can follow."""


@dataclass(frozen=True)
class Sample:
    """Maps of one picture, normals in camera axes."""

    name: str
    depth: Float[Tensor, "height width"]
    normals: Float[Tensor, "3 height width"]
    mask: Bool[Tensor, "height width"]


def samples(folder: Path) -> Iterator[Sample]:
    """Read NAME.npz (``depth``, ``normal``) and, where there is one, NAME_mask.png (bright, or opaque, is seen).

    Raises:
        InputError: there is no sample, or one cannot be read.
    """
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise InputError(f"{folder} holds no sample: give a folder of NAME.npz with depth and normal.")
    for file in files:
        try:
            with np.load(file) as data:
                depth, normals = (torch.from_numpy(data[name].astype(np.float64)) for name in ("depth", "normal"))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{file} cannot be read ({error}): it must hold depth and normal.") from error
        if normals.shape != (*depth.shape, 3):
            raise InputError(f"{file}: normal must be of the depth's size, with 3 channels.")
        yield Sample(file.stem, depth, _facing(normals.permute(2, 0, 1), depth), _mask(file, depth))


def _mask(file: Path, depth: Float[Tensor, "height width"]) -> Bool[Tensor, "height width"]:
    import cv2

    path = file.with_name(f"{file.stem}_mask.png")
    if not path.is_file():
        return torch.ones_like(depth, dtype=torch.bool)
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.shape[:2] != tuple(depth.shape):
        raise InputError(f"{path} must be a picture of the depth's size.")
    plane = picture if picture.ndim == 2 else picture[..., -1]
    return torch.from_numpy(plane > 127)


def _facing(normals: Float[Tensor, "3 height width"], depth: Float[Tensor, "height width"]) -> Tensor:
    """Return unit normals in camera axes: each axis takes the sign that goes with the slopes of the depth."""
    normals = unit(normals)
    normals = normals * (-1.0 if normals[2].mean() > 0 else 1.0)
    usable = normals[2] < -STEEPEST
    for axis, rise in zip((1, 0), torch.gradient(depth), strict=True):
        slope = -normals[axis] / normals[2]
        gentle = usable & (rise.abs() < rise[usable].abs().quantile(0.9))
        if (slope[gentle] * rise[gentle]).sum() < 0:
            normals[axis] = -normals[axis]
    return normals


def evaluate_samples(
    folder: Path, on_step: OnStep = ignore_steps
) -> tuple[Table, list[tuple[str, Float[Tensor, "3 height width"]]]]:
    """Integrate the predicted normals alone and with the predicted depth as a prior (orthographic).

    ``explained`` is the share of the predicted depth's variance that is an affine function of the result, in percent;
    ``normal`` the mean angle in degrees between the normals of the result and the predicted ones. Returns the table
    and a picture per sample.

    Raises:
        InputError: there is no sample in ``folder``, or one cannot be read.
    """
    found = list(samples(folder))
    table = Table("Integration of predicted depth and normals", {"samples": len(found)})
    sheets = []
    with one_thread():
        for done, sample in enumerate(found):
            on_step(done, len(found))
            row, results = _integrated(sample, lambda _step, _steps, done=done: on_step(done, len(found)))
            table.rows += row
            sheets.append((sample.name, _sheet(sample, results)))
    on_step(len(found), len(found))
    return table, sheets


def _integrated(sample: Sample, on_step: OnStep) -> tuple[list[Row], list[Integration]]:
    rows, results = [], []
    prior = _to_scale(sample)
    for weight in WEIGHTS:
        start = time.thread_time()
        result = integrate_normals(
            sample.normals, sample.mask, prior=prior if weight else None, prior_weight=weight, options=OPTIONS,
            on_step=on_step,
        )  # fmt: skip
        seconds = time.thread_time() - start
        angle = _angles(result.depth, sample.normals)[result.mask]
        rows.append(
            {
                "sample": sample.name,
                "lambda": weight,
                "explained": _explained(result.depth, sample.depth, result.mask),
                "normal": float(angle[torch.isfinite(angle)].mean()),
                "energy": result.energy[-1] if result.energy else None,
                "rounds": len(result.energy),
                "seconds": seconds,
            }
        )
        results.append(result)
    return rows, results


def _explained(depth: Tensor, target: Tensor, mask: Bool[Tensor, "height width"]) -> float:
    known = mask & torch.isfinite(depth)
    return 100.0 * float(torch.corrcoef(torch.stack((depth[known], target[known])))[0, 1] ** 2)


def _to_scale(sample: Sample) -> Float[Tensor, "height width"]:
    """Return the predicted depth in pixels: normals say how deep it is."""
    rises, slopes = [], []
    usable = sample.mask & (sample.normals[2] < -STEEPEST)
    for axis, rise in zip((1, 0), torch.gradient(sample.depth), strict=True):
        rises.append(rise[usable])
        slopes.append((-sample.normals[axis] / sample.normals[2])[usable])
    rise, slope = torch.cat(rises), torch.cat(slopes)
    # The median of ratios where the normals see a slope: jumps of the depth do not count.
    tilted = slope.abs() > STEEPEST
    return sample.depth / (rise[tilted] / slope[tilted]).median()


def _normals(depth: Float[Tensor, "height width"]) -> Float[Tensor, "3 height width"]:
    along_y, along_x = torch.gradient(depth)
    return unit(torch.stack((along_x, along_y, -torch.ones_like(depth))))


def _angles(depth: Tensor, normals: Tensor) -> Float[Tensor, "height width"]:
    return torch.rad2deg((_normals(depth) * normals).sum(0).clamp(-1.0, 1.0).acos())


def _sheet(sample: Sample, results: list[Integration]) -> Float[Tensor, "3 height width"]:
    """Return predicted normals, predicted depth, and the depth of every integration, above the normals of each."""
    blank = (~sample.mask)[None]
    depths = [sample.depth, *(result.depth for result in results)]
    normals = [sample.normals, *(_normals(depth) for depth in depths[1:])]
    above = [_grey(depth, sample.mask) for depth in depths]
    below = [((1.0 - each) / 2.0).nan_to_num(1.0).masked_fill(blank, 1.0).float() for each in normals]
    captions = ["predicted", *(f"lambda {weight:g}" for weight in WEIGHTS)]
    return contact_sheet([SheetRow("depth", above), SheetRow("normals", below)], captions, cell=320)


def _grey(depth: Float[Tensor, "height width"], mask: Bool[Tensor, "height width"]) -> Float[Tensor, "3 height width"]:
    known = mask & torch.isfinite(depth)
    near, far = depth[known].quantile(0.01), depth[known].quantile(0.99)
    shade = ((far - depth) / (far - near).clamp(min=1e-9)).clamp(0.0, 1.0)
    return torch.where(known, shade, 1.0).float().expand(3, -1, -1)
