"""Gaussians as PLY in Inria's layout, which every viewer of splats reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .gaussians import Gaussians

SMALLEST = 1e-6
"""Opacities and scales are kept this far from 0 (and opacities from 1), since the file holds logit and logarithm."""
_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"}
_TYPES |= {"double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
_TYPES |= {"float32": "f4", "float64": "f8"}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}
_LONGEST_HEADER = 1 << 16


def write_ply(path: Path, gaussians: Gaussians) -> None:
    """Write position, normals (zero), f_dc, f_rest (channel by channel), logit opacity, log scale, rotation wxyz.

    Axes become those of splat files: y down, z forward.
    """
    turned = to_image_axes(gaussians)
    opacity = turned.opacities.clamp(SMALLEST, 1.0 - SMALLEST)
    columns = torch.cat(
        (
            turned.means,
            torch.zeros_like(turned.means),
            turned.sh[:, 0],
            turned.sh[:, 1:].transpose(1, 2).flatten(1),
            torch.logit(opacity)[:, None],
            turned.scales.clamp(min=SMALLEST).log(),
            turned.quats,
        ),
        dim=1,
    )
    names = ["x", "y", "z", "nx", "ny", "nz", *(f"f_dc_{k}" for k in range(3)), *(f"f_rest_{k}" for k in range(9))]
    names += ["opacity", *(f"scale_{k}" for k in range(3)), *(f"rot_{k}" for k in range(4))]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(gaussians)}"]
    header += [*(f"property float {name}" for name in names), "end_header", ""]
    data = columns.detach().cpu().numpy().astype("<f4")
    path.write_bytes("\n".join(header).encode("ascii") + np.ascontiguousarray(data).tobytes())


def read_ply(path: Path) -> Gaussians:
    """Read a splat PLY, in binary or text, of any degree; harmonics above degree 1 are left out.

    Raises:
        InputError: the file is not such a PLY, or is cut short.
    """
    columns = _read_columns(path)
    missing = [name for name in ("x", "f_dc_0", "opacity", "scale_0", "rot_0") if name not in columns]
    if missing:
        raise InputError(f"{path} holds no Gaussians ({missing[0]} is missing): give a splat PLY, not a mesh or cloud.")

    def stacked(names: list[str]) -> Tensor:
        return torch.from_numpy(np.stack([columns[name].astype(np.float32) for name in names], axis=1))

    count = len(columns["x"])
    sh = torch.zeros(count, 4, 3)
    sh[:, 0] = stacked([f"f_dc_{k}" for k in range(3)])
    rest = sum(name.startswith("f_rest_") for name in columns) // 3
    if rest >= 3:
        names = [f"f_rest_{channel * rest + k}" for channel in range(3) for k in range(3)]
        sh[:, 1:] = stacked(names).view(count, 3, 3).transpose(1, 2)
    read = Gaussians(
        means=stacked(["x", "y", "z"]),
        quats=stacked([f"rot_{k}" for k in range(4)]),
        scales=stacked([f"scale_{k}" for k in range(3)]).exp(),
        opacities=torch.sigmoid(stacked(["opacity"])[:, 0]),
        sh=sh,
        labels=torch.zeros(count, dtype=torch.uint8),
    )
    return from_image_axes(read)


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    """Return the vertices' properties by name."""
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
        end = start.find(b"end_header")
        if not start.startswith(b"ply") or end < 0:
            raise InputError(f"{path} is not a PLY file.")
        lines = start[:end].decode("ascii", "replace").split("\n")
        begin = start.index(b"\n", end) + 1 if b"\n" in start[end:] else end
        form, count, properties = _parse_header([line.split() for line in lines], path)
        file.seek(begin)
        if form == "ascii":
            table = np.loadtxt(file, max_rows=count, ndmin=2, dtype=np.float64) if count else np.empty((0, 1 << 10))
            if len(table) < count or table.shape[1] < len(properties):
                raise InputError(f"{path} is cut short.")
            return {name: table[:, k] for k, (name, _) in enumerate(properties)}
        row = np.dtype([(name, _ORDERS[form] + kind) for name, kind in properties])
        data = file.read(count * row.itemsize)
    if len(data) < count * row.itemsize:
        raise InputError(f"{path} is cut short.")
    table = np.frombuffer(data, dtype=row)
    return {name: table[name] for name, _ in properties}


def _parse_header(lines: list[list[str]], path: Path) -> tuple[str, int, list[tuple[str, str]]]:
    """Return the format, the number of vertices, and the name and type of each of their properties."""
    form, count, properties, element = "", -1, [], ""
    for words in lines:
        match words:
            case ["format", form, *_]:
                pass
            case ["element", element, number] if number.isdigit():
                if count < 0 and element != "vertex":
                    raise InputError(f"{path} does not begin with its vertices: give a splat PLY.")
                count = int(number) if element == "vertex" else count
            case ["property", kind, name] if element == "vertex" and kind in _TYPES:
                properties.append((name, _TYPES[kind]))
            case ["property", *_] if element == "vertex":
                raise InputError(f"{path} has lists in its vertices: give a splat PLY.")
    if count < 0 or form not in (*_ORDERS, "ascii") or len(dict(properties)) < len(properties):
        raise InputError(f"{path} has a PLY header that cannot be understood.")
    return form, count, properties


def to_image_axes(gaussians: Gaussians) -> Gaussians:
    """Turn canonical axes (y up, z to the viewer) into those of splat files (y down, z forward): half a turn on x."""
    w, x, y, z = gaussians.quats.unbind(-1)
    return _flipped(gaussians, torch.stack((-x, w, -z, y), dim=-1))


def from_image_axes(gaussians: Gaussians) -> Gaussians:
    """Turn the axes of splat files (y down, z forward) into canonical ones: the half turn back."""
    w, x, y, z = gaussians.quats.unbind(-1)
    return _flipped(gaussians, torch.stack((x, -w, z, -y), dim=-1))


def _flipped(gaussians: Gaussians, quats: Float[Tensor, "n 4"]) -> Gaussians:
    return Gaussians(
        means=gaussians.means * gaussians.means.new_tensor((1.0, -1.0, -1.0)),
        quats=quats,
        scales=gaussians.scales,
        opacities=gaussians.opacities,
        # Degree 1 is stored as (y, z, x), of which y and z change sign.
        sh=gaussians.sh * gaussians.sh.new_tensor((1.0, -1.0, -1.0, 1.0))[:, None],
        labels=gaussians.labels,
    )
