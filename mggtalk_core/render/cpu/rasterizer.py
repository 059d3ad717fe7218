"""The passes of the CPU rasteriser in order, forward and backward."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import InputError
from ...gaussians.gaussians import Gaussians
from ...head.camera import Camera
from .. import splatting as rule
from ..rendering import Rendering
from . import binning, blending, blending_backward, projection, projection_backward
from .buffers import Buffers, Pool
from .differentiable import Splatting
from .workers import share

_MAX_ENTRIES = 200_000_000  # 1.6 GB
_MAX_THREADS = 8
_WIDTHS = (3, 4, 3, 1, 12)  # of means, quats, scales, opacities, sh


@dataclass(frozen=True, eq=False)
class Frame:
    """One render's arrays, kept for its backward."""

    buffers: Buffers
    parameters: tuple[np.ndarray, ...]
    pose: tuple[tuple[np.float32, ...], ...]
    lens: tuple[np.float32, ...]
    antialiased: bool
    image: Float[np.ndarray, "5 height width"]
    records: np.ndarray
    entries: np.ndarray
    offsets: np.ndarray
    dropped: int


class Rasterizer:
    """Splats Gaussians on the CPU; every number of threads gives the same picture, bit for bit.

    One object may be used from several threads at once: each render borrows a set of buffers of its own.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._pool = Pool()

    @property
    def threads(self) -> int:
        """Threads of one render: as given, else as many as torch may use on the calling thread."""
        return max(1, self._threads or min(torch.get_num_threads(), _MAX_THREADS))

    def __call__(self, gaussians: Gaussians, camera: Camera, *, antialiased: bool = False) -> Rendering:
        """Render on the CPU in float32, differentiably; colour is premultiplied, over nothing."""
        g = gaussians
        tensors = (g.means, g.quats, g.scales, g.opacities, g.sh)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            image, dropped = Splatting.apply(self, camera, antialiased, *tensors)
        else:
            frame = self.forward(tensors, camera, antialiased)
            image, dropped = torch.from_numpy(frame.image), frame.dropped
        rgb, alpha, depth = image.split((3, 1, 1))
        return Rendering(rgb, alpha, depth, dropped)

    def forward(self, tensors: tuple[Tensor, ...], camera: Camera, antialiased: bool) -> Frame:
        """Draw means, quats, scales, opacities and sh; the frame's memory is used again once the frame is gone."""
        threads, buffers = self.threads, self._pool.borrow()
        count = len(tensors[0])
        columns, rows = -(-camera.width // binning.TILE), -(-camera.height // binning.TILE)
        bounds = _bounds(count, 1 if threads == 1 else 4 * threads)
        parameters, (pose, lens) = tuple(_array(tensor) for tensor in tensors), _camera_numbers(camera)
        records = buffers.get("records", (count, projection.RECORD), np.float32)
        records_bits = records.view(np.uint32)
        slots = buffers.get("slots", (len(bounds) - 1, columns * rows), np.int64)
        offsets = buffers.get("offsets", (columns * rows + 1,), np.int64)
        image = np.empty((5, camera.height, camera.width), np.float32)
        dropped = [0] * (len(bounds) - 1)

        def project(chunk: int) -> None:
            first, last = bounds[chunk], bounds[chunk + 1]
            dropped[chunk] = projection.project(
                parameters, pose, lens, antialiased, first, last, records, records_bits, columns, slots[chunk]
            )

        def scatter(chunk: int) -> None:
            binning.scatter(records, records_bits, bounds[chunk], bounds[chunk + 1], columns, slots[chunk], entries)

        def draw(part: int) -> None:
            first, last = lines[part] * columns, lines[part + 1] * columns
            binning.sort(entries, offsets, first, last)
            blending.blend(records, entries, offsets, columns, first, last, image)

        share(project, len(dropped), threads)
        total = binning.accumulate(slots, offsets)
        if total > _MAX_ENTRIES:
            raise InputError("The Gaussians are too large for this view: use smaller scales or a smaller picture.")
        entries = buffers.get("entries", (total,), np.uint64)
        share(scatter, len(dropped), threads)
        lines = _bounds(rows, -(-rows // 4) if threads == 1 else rows)
        share(draw, len(lines) - 1, threads)
        frame = Frame(buffers, parameters, pose, lens, antialiased, image, records, entries, offsets, sum(dropped))
        weakref.finalize(frame, self._pool.give_back, buffers)
        return frame

    def backward(self, frame: Frame, gradient: Float[Tensor, "5 height width"]) -> tuple[Tensor, ...]:
        """Return the gradients of means, quats, scales, opacities and sh from that of the frame's image."""
        threads, f, count = self.threads, frame, len(frame.records)
        rows, columns = (-(-edge // binning.TILE) for edge in f.image.shape[1:])
        row_slots = f.buffers.get("row_slots", (count + 1,), np.int64)
        total = blending_backward.first_slots(f.records, row_slots)
        slots = f.buffers.get("gradient_slots", (total, blending_backward.SLOT), np.float32)
        bounds = _bounds(count, 1 if threads == 1 else 4 * threads)
        incoming, result = _array(gradient), np.empty((count, sum(_WIDTHS)), np.float32)

        def draw(row: int) -> None:
            first, last = row * columns, (row + 1) * columns
            blending_backward.blend_backward(
                f.records, f.entries, f.offsets, columns, first, last, f.image, incoming, row_slots, slots
            )

        def project(chunk: int) -> None:
            first, last = bounds[chunk], bounds[chunk + 1]
            projection_backward.project_backward(
                f.parameters, f.pose, f.lens, f.antialiased, f.records, row_slots, slots, first, last, result
            )

        share(draw, rows, threads)
        share(project, len(bounds) - 1, threads)
        return torch.from_numpy(result).split(_WIDTHS, dim=1)


def _camera_numbers(camera: Camera) -> tuple[tuple[tuple[np.float32, ...], ...], tuple[np.float32, ...]]:
    """Return (rotation rows, translation, centre, axis with distance) and (focal, width, height, limits of x/z, y/z).

    All are float32 but the third row of the pose, by which depth is ranked.
    """
    pose = camera.world_to_camera.detach().double().cpu().numpy()
    rotation, translation = pose[:3, :3], pose[:3, 3]
    vectors = (rotation.ravel(), translation, -rotation.T @ translation)
    size = (camera.width, camera.height)
    limits = ((1 + rule.FRUSTUM_MARGIN) * 0.5 * edge / camera.focal for edge in size)
    lens = tuple(np.float32(value) for value in (camera.focal, *size, *limits))
    rows = tuple(tuple(np.float32(value) for value in vector) for vector in vectors)
    return (*rows, tuple(float(value) for value in pose[2])), lens


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy()


def _bounds(count: int, chunks: int) -> list[int]:
    return [count * chunk // chunks for chunk in range(chunks + 1)]
