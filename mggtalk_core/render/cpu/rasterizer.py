"""The passes of the CPU rasteriser in order, and the memory they share from frame to frame."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ...errors import InputError
from ...gaussians.gaussians import Gaussians
from ...head.camera import Camera
from .. import splatting as rule
from ..rendering import Rendering
from . import binning, blending, projection
from .workers import share

_MAX_ENTRIES = 200_000_000  # 1.6 GB
_MAX_THREADS = 8


class _Buffers:
    """Scratch memory of one render; grows, never shrinks."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        size = int(np.prod(shape))
        held = self._arrays.get(name)
        if held is None or held.size < size:
            held = self._arrays[name] = np.empty(size + size // 4, dtype)
        return held[:size].reshape(shape)


class Rasterizer:
    """Splats Gaussians on the CPU; every number of threads gives the same picture, bit for bit.

    One object may be used from several threads at once: each render borrows a set of buffers of its own.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._idle: list[_Buffers] = []
        self._lock = threading.Lock()

    @property
    def threads(self) -> int:
        """Threads of one render: as given, else as many as torch may use on the calling thread."""
        return max(1, self._threads or min(torch.get_num_threads(), _MAX_THREADS))

    @contextmanager
    def _borrowed(self) -> Iterator[_Buffers]:
        with self._lock:
            buffers = self._idle.pop() if self._idle else _Buffers()
        try:
            yield buffers
        finally:
            with self._lock:
                self._idle.append(buffers)

    def __call__(self, gaussians: Gaussians, camera: Camera) -> Rendering:
        """Render on the CPU in float32; colour is premultiplied, over nothing."""
        with self._borrowed() as buffers:
            return self._render(gaussians, camera, buffers)

    def _render(self, gaussians: Gaussians, camera: Camera, buffers: _Buffers) -> Rendering:
        threads = self.threads
        columns, rows = -(-camera.width // binning.TILE), -(-camera.height // binning.TILE)
        bounds = _bounds(len(gaussians), 1 if threads == 1 else 4 * threads)
        records = buffers.get("records", (len(gaussians), projection.RECORD), np.float32)
        slots = buffers.get("slots", (len(bounds) - 1, columns * rows), np.int64)
        offsets = buffers.get("offsets", (columns * rows + 1,), np.int64)
        dropped = self._project(gaussians, camera, columns, bounds, records, slots)
        total = binning.accumulate(slots, offsets)
        if total > _MAX_ENTRIES:
            raise InputError("The Gaussians are too large for this view: use smaller scales or a smaller picture.")
        entries = buffers.get("entries", (total,), np.uint64)
        image = np.empty((5, camera.height, camera.width), np.float32)
        depth_bits = records.view(np.uint32)

        def scatter(chunk: int) -> None:
            binning.scatter(records, depth_bits, bounds[chunk], bounds[chunk + 1], columns, slots[chunk], entries)

        def draw(row: int) -> None:
            first, last = row * columns, (row + 1) * columns
            binning.sort(entries, offsets, first, last)
            blending.blend(records, entries, offsets, columns, first, last, image)

        share(scatter, len(bounds) - 1, threads)
        share(draw, rows, threads)
        rgb, alpha, depth = torch.from_numpy(image).split((3, 1, 1))
        return Rendering(rgb, alpha, depth, dropped)

    def _project(
        self, g: Gaussians, camera: Camera, columns: int, bounds: list[int], records: np.ndarray, slots: np.ndarray
    ) -> int:
        arrays = [_array(tensor) for tensor in (g.means, g.quats, g.scales, g.opacities, g.sh)]
        pose = camera.world_to_camera.detach().double().cpu().numpy()
        rotation, translation = pose[:3, :3], pose[:3, 3]
        vectors = (rotation.ravel(), translation, -rotation.T @ translation)
        placed = tuple(tuple(np.float32(value) for value in vector) for vector in vectors)
        size = (camera.width, camera.height)
        limits = ((1 + rule.FRUSTUM_MARGIN) * 0.5 * edge / camera.focal for edge in size)
        lens = tuple(np.float32(value) for value in (camera.focal, *size, *limits))
        dropped = [0] * (len(bounds) - 1)

        def project(chunk: int) -> None:
            first, last = bounds[chunk], bounds[chunk + 1]
            dropped[chunk] = projection.project(*arrays, placed, lens, False, first, last, records)
            binning.count(records, first, last, columns, slots[chunk])

        share(project, len(dropped), self.threads)
        return sum(dropped)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy()


def _bounds(count: int, chunks: int) -> list[int]:
    return [count * chunk // chunks for chunk in range(chunks + 1)]
