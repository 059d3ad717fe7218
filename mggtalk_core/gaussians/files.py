"""Gaussians as files: PLY and SPZ for viewers, safetensors for ourselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from ..media.atomic import replacing
from .gaussians import Gaussians
from .ply import read_ply, write_ply
from .ply import to_image_axes as to_image_axes
from .spz import read_spz, write_spz

_NAMES = ("means", "quats", "scales", "opacities", "sh", "labels")


def write_gaussians(path: str | os.PathLike[str], gaussians: Gaussians) -> None:
    """Write one frame of Gaussians.

    ``.ply`` (Inria's layout, y down, z forward, degree 1) and ``.spz`` (8 to 24 bits a number) are for viewers;
    ``.safetensors`` keeps every bit and the labels, in canonical space.

    Raises:
        InputError: another ending, or the file cannot be written.
    """
    write = _WRITERS[check_ending(path)]
    with replacing(path) as temporary:
        write(temporary, gaussians)


def read_gaussians(path: str | os.PathLike[str]) -> Gaussians:
    """Read what `write_gaussians` or another program wrote; files without labels hold visible Gaussians only.

    Raises:
        InputError: another ending, or the file is missing, damaged or holds something else.
    """
    ending = Path(path).suffix.lower()
    if ending not in _READERS:
        raise InputError(f"Cannot read {path}: the name must end in {_listed(_READERS)}.")
    try:
        return _READERS[ending](Path(path))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error


def check_ending(path: str | os.PathLike[str]) -> str:
    """Return the ending of a file to be written; raises InputError if it is none of ours."""
    ending = Path(path).suffix.lower()
    if ending not in _WRITERS:
        raise InputError(f"Cannot write {path}: the name must end in {_listed(_WRITERS)}.")
    return ending


def _write_safetensors(path: Path, gaussians: Gaussians) -> None:
    from safetensors.torch import save

    # Not save_file: its errors of the system (disk full) are not OSErrors.
    path.write_bytes(save({name: getattr(gaussians, name).detach().contiguous().cpu() for name in _NAMES}))


def _read_safetensors(path: Path) -> Gaussians:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(path.read_bytes())
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or not a safetensors file.") from error
    if not set(_NAMES) <= set(tensors):
        raise InputError(f"{path} holds no Gaussians: give a file that `reconstruct` wrote.")
    return Gaussians(**{name: tensors[name] for name in _NAMES})


def _listed(endings: dict[str, Callable]) -> str:
    *first, last = endings
    return f"{', '.join(first)} or {last}"


_WRITERS: dict[str, Callable[[Path, Gaussians], None]] = {
    ".ply": write_ply,
    ".spz": write_spz,
    ".safetensors": _write_safetensors,
}
_READERS: dict[str, Callable[[Path], Gaussians]] = {
    ".ply": read_ply,
    ".spz": read_spz,
    ".safetensors": _read_safetensors,
}
