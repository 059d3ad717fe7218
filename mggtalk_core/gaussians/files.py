"""Gaussians as files: PLY in Inria's layout for viewers, safetensors for ourselves."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..media.atomic import replacing
from .gaussians import Gaussians

SMALLEST = 1e-6
"""Opacities and scales are kept this far from 0 (and opacities from 1), since the file holds logit and logarithm."""


def write_gaussians(path: str | os.PathLike[str], gaussians: Gaussians) -> None:
    """Write one frame of Gaussians: ``.ply`` (y down, z forward, degree 1) or ``.safetensors`` (canonical space).

    Raises:
        InputError: another ending, or the file cannot be written.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".ply", ".safetensors"):
        raise InputError(f"Cannot write {path}: the name must end in .ply or .safetensors.")
    with replacing(path) as temporary:
        (_write_ply if ending == ".ply" else _write_safetensors)(temporary, gaussians)


def _write_safetensors(path: Path, gaussians: Gaussians) -> None:
    from safetensors.torch import save

    names = ("means", "quats", "scales", "opacities", "sh", "labels")
    # Not save_file: its errors of the system (disk full) are not OSErrors.
    path.write_bytes(save({name: getattr(gaussians, name).contiguous().cpu() for name in names}))


def _write_ply(path: Path, gaussians: Gaussians) -> None:
    """Write position, normals (zero), f_dc, f_rest (channel by channel), logit opacity, log scale, rotation wxyz."""
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
    data = columns.cpu().numpy().astype("<f4")
    path.write_bytes("\n".join(header).encode("ascii") + np.ascontiguousarray(data).tobytes())


def to_image_axes(gaussians: Gaussians) -> Gaussians:
    """Turn canonical axes (y up, z to the viewer) into those of splat files (y down, z forward): half a turn on x."""
    flip = gaussians.means.new_tensor((1.0, -1.0, -1.0))
    return Gaussians(
        means=gaussians.means * flip,
        quats=_half_turn(gaussians.quats),
        scales=gaussians.scales,
        opacities=gaussians.opacities,
        # Degree 1 is stored as (y, z, x), of which y and z change sign.
        sh=gaussians.sh * gaussians.sh.new_tensor((1.0, -1.0, -1.0, 1.0))[:, None],
        labels=gaussians.labels,
    )


def _half_turn(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Multiply by the quaternion (0, 1, 0, 0) from the left."""
    w, x, y, z = quats.unbind(-1)
    return torch.stack((-x, w, -z, y), dim=-1)
