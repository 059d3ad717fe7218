"""Gaussians as SPZ, Niantic's compressed format: a tenth of a PLY's size.

A gzipped stream: 16 bytes of header, then positions, alphas, colours, scales, rotations and harmonics, each for all
Gaussians. Its axes (right, up, back) are ours.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from ..errors import InputError
from .gaussians import Gaussians

_MAGIC, _VERSION = 0x5053474E, 3
_HEADER = struct.Struct("<IIIBBBB")
_FRACTION_BITS = 12
"""Positions are kept to 1/4096 of a unit (0.02 mm), up to 2048 units from the origin."""
_COLOR_SCALE = 0.15
_MAGNITUDE = 511.0 * math.sqrt(2.0)
_COEFFICIENTS = {0: 0, 1: 3, 2: 8, 3: 15, 4: 24}  # above the constant one, by degree


def write_spz(path: Path, gaussians: Gaussians) -> None:
    """Write version 3. Degree 1 is left out where it is zero throughout; labels are not kept."""
    g = gaussians.to("cpu")
    sh = g.sh.detach().float().numpy()
    degree = int(bool((sh[:, 1:] != 0).any()))
    parts = [
        _HEADER.pack(_MAGIC, _VERSION, len(g), degree, _FRACTION_BITS, 0, 0),
        _pack_positions(g.means.detach().double().numpy()),
        _bytes(g.opacities.detach().numpy() * 255.0),
        _bytes((sh[:, 0] * _COLOR_SCALE + 0.5) * 255.0),
        _bytes((np.log(np.maximum(g.scales.detach().numpy(), 1e-12)) + 10.0) * 16.0),
        _pack_rotations(g.quats.detach().double().numpy()),
    ]
    if degree:
        parts.append(_bytes(sh[:, 1:] * 128.0 + 128.0))
    # No time in the header: the same Gaussians give the same bytes.
    path.write_bytes(gzip.compress(b"".join(parts), mtime=0))


def read_spz(path: Path) -> Gaussians:
    """Read versions 2 and 3; harmonics above degree 1 are left out.

    Raises:
        InputError: the file is not such an SPZ, or is cut short.
    """
    data = _unzip(path)
    magic, version, count, degree, fraction_bits, _, _ = _HEADER.unpack_from(data.ljust(_HEADER.size, b"\0"))
    if magic != _MAGIC or version not in (2, 3) or degree not in _COEFFICIENTS:
        raise InputError(f"{path} is not an SPZ file of version 2 or 3: export it again as one of these, or as PLY.")
    widths = (9, 1, 3, 3, 3 if version == 2 else 4, 3 * _COEFFICIENTS[degree])
    if len(data) < _HEADER.size + count * sum(widths):
        raise InputError(f"{path} is cut short.")
    ends = _HEADER.size + count * np.cumsum((0, *widths))
    positions, alphas, colors, scales, rotations, rest = (
        np.frombuffer(data, np.uint8, count * width, end).reshape(count, width)
        for width, end in zip(widths, ends[:-1], strict=True)
    )
    sh = np.zeros((count, 4, 3), np.float32)
    sh[:, 0] = (colors / 255.0 - 0.5) / _COLOR_SCALE
    if degree:
        sh[:, 1:] = (rest[:, :9].reshape(count, 3, 3) - 128.0) / 128.0
    unpack = _unpack_three_bytes if version == 2 else _unpack_rotations
    arrays = (_unpack_positions(positions, fraction_bits), unpack(rotations), np.exp(scales / 16.0 - 10.0))
    means, quats, sizes = (torch.from_numpy(array.astype(np.float32)) for array in arrays)
    opacities = torch.from_numpy((alphas[:, 0] / 255.0).astype(np.float32))
    return Gaussians(means, quats, sizes, opacities, torch.from_numpy(sh), torch.zeros(count, dtype=torch.uint8))


def _unzip(path: Path) -> bytes:
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            raise InputError(
                f"{path} is not an SPZ file of version 2 or 3: export it again as one of these, or as PLY."
            )
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is damaged or cut short.") from error


def _bytes(values: np.ndarray) -> bytes:
    return np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8).tobytes()


def _pack_positions(means: Float[np.ndarray, "n 3"]) -> bytes:
    """Turn coordinates into 24-bit fixed-point numbers, little end first."""
    limit = (1 << 23) - 1
    fixed = np.clip(np.rint(np.nan_to_num(means) * (1 << _FRACTION_BITS)), -limit, limit).astype("<i4")
    return np.ascontiguousarray(fixed).view(np.uint8).reshape(-1, 3, 4)[:, :, :3].tobytes()


def _unpack_positions(packed: UInt8[np.ndarray, "n 9"], fraction_bits: int) -> Float[np.ndarray, "n 3"]:
    words = np.zeros((len(packed), 3, 4), np.uint8)
    words[:, :, 1:] = packed.reshape(-1, 3, 3)  # in the upper bytes, so that the shift brings the sign down
    return (words.view("<i4")[..., 0] >> 8) / float(1 << fraction_bits)


def _pack_rotations(quats: Float[np.ndarray, "n 4"]) -> bytes:
    """Pack each quaternion into 32 bits: which component is largest, then sign and 9 bits of the other three."""
    q = np.nan_to_num(quats[:, [1, 2, 3, 0]])
    length = np.linalg.norm(q, axis=1, keepdims=True)
    q = np.where(length > 0, q / np.maximum(length, 1e-30), (0.0, 0.0, 0.0, 1.0))
    largest = np.abs(q).argmax(axis=1)
    q *= np.where(np.take_along_axis(q, largest[:, None], 1) < 0, -1.0, 1.0)
    others = q[_others(largest)].reshape(-1, 3)
    magnitude = np.minimum(np.rint(np.abs(others) * _MAGNITUDE), 511).astype(np.uint32)
    coded = magnitude | ((others < 0).astype(np.uint32) << 9)
    word = (largest.astype(np.uint32) << 30) | (coded[:, 0] << 20) | (coded[:, 1] << 10) | coded[:, 2]
    return word.astype("<u4").tobytes()


def _unpack_rotations(packed: UInt8[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    word = np.ascontiguousarray(packed).view("<u4")[:, 0]
    coded = np.stack([(word >> shift) & 1023 for shift in (20, 10, 0)], axis=1)
    others = np.where(coded & 512, -1.0, 1.0) * (coded & 511) / _MAGNITUDE
    largest = word >> 30
    q = np.empty((len(word), 4))
    q[_others(largest)] = others.ravel()
    q[~_others(largest)] = np.sqrt(np.maximum(1.0 - (others**2).sum(axis=1), 0.0))
    return q[:, [3, 0, 1, 2]]


def _others(largest: np.ndarray) -> np.ndarray:
    """Mark the three components of each row, x y z w, that are not the largest."""
    return np.arange(4) != largest[:, None]


def _unpack_three_bytes(packed: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """Unpack version 2: x, y and z in a byte each; w is what remains, and positive."""
    xyz = packed / 127.5 - 1.0
    w = np.sqrt(np.maximum(1.0 - (xyz**2).sum(axis=1, keepdims=True), 0.0))
    q = np.concatenate((w, xyz), axis=1)
    return q / np.linalg.norm(q, axis=1, keepdims=True)
