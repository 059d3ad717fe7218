"""Read the tensors that PyTorch has pickled into a file without running what is in it.

There are two layouts. Since 1.6 the file is a zip archive with ``data.pkl`` and one member of bytes per storage;
before that it is a row of pickles (a magic number, a version, facts of the machine, the tree, the keys of the
storages) and then, for every key, the number of elements in eight bytes and the elements. In both the tree names a
tensor as a view of a storage: where it begins, its shape and its strides.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..errors import WeightsError

_MAGIC = 0x1950A86A20F9469CFC6C
_TYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
}  # fmt: skip


class _Storage(NamedTuple):
    """What the pickle says of a row of numbers that lies elsewhere in the file."""

    key: str
    type: str


class _View(NamedTuple):
    """What the pickle says of a tensor."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _view(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _View:
    return _View(storage, offset, tuple(shape), tuple(strides))


def _parameter(view: _View, *_: Any) -> _View:
    return view


_KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _view,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", name): dtype for name, dtype in _TYPES.items()},
}
"""What stands for a name in the pickle: nothing is ever imported."""


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that knows dictionaries and descriptions of tensors and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 3 and pid[0] == "storage" and pid[1] in _TYPES.values()):
            raise pickle.UnpicklingError("it names numbers of a kind that is not known")
        return _Storage(str(pid[2]), pid[1])


def read_torch_tensors(data: bytes) -> dict[str, np.ndarray]:
    """Return the tensors of a pickled dictionary, in either layout of PyTorch's files.

    Raises `WeightsError` for what is no such file, and for a pickle that names anything else, before it is called.
    """
    try:
        tree, rows = _zipped(data) if zipfile.is_zipfile(io.BytesIO(data)) else _row_of_pickles(data)
        if not isinstance(tree, Mapping) or not all(isinstance(view, _View) for view in tree.values()):
            raise pickle.UnpicklingError("it is no dictionary of tensors")
        return {str(name): _tensor(view, rows) for name, view in tree.items()}
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError,
        struct.error, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise WeightsError(f"refused a file that does not hold tensors alone: {error}") from error


def _zipped(data: bytes) -> tuple[Any, dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if name is None:
            raise pickle.UnpicklingError("it has no data.pkl")
        folder = name.removesuffix("data.pkl") + "data/"
        tree = _TensorUnpickler(io.BytesIO(archive.read(name))).load()
        names = [each for each in archive.namelist() if each.startswith(folder)]
        return tree, {each.removeprefix(folder): archive.read(each) for each in names}


def _row_of_pickles(data: bytes) -> tuple[Any, dict[str, bytes]]:
    file = io.BytesIO(data)
    if _TensorUnpickler(file).load() != _MAGIC:
        raise pickle.UnpicklingError("it does not begin as PyTorch's files do")
    _version, _machine = (_TensorUnpickler(file).load() for _ in range(2))
    unpickler = _Noted(file)
    tree, keys = unpickler.load(), _TensorUnpickler(file).load()
    rows = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        rows[str(key)] = file.read(max(0, count) * np.dtype(unpickler.types[str(key)]).itemsize)
    return tree, rows


class _Noted(_TensorUnpickler):
    """Notes the type of every storage that is named: the old layout needs it to tell where one ends."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.types: dict[str, str] = {}

    def persistent_load(self, pid: Any) -> _Storage:
        storage = super().persistent_load(pid)
        self.types[storage.key] = storage.type
        return storage


def _tensor(view: _View, rows: Mapping[str, bytes]) -> np.ndarray:
    """Return what a view shows of its storage, copied; nothing outside the storage can be seen."""
    values = np.frombuffer(rows[view.storage.key], view.storage.type)
    if view.offset < 0 or min((0, *view.shape, *view.strides)) < 0:
        raise ValueError("a tensor has a negative size")
    last = view.offset + sum((size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True))
    if prod(view.shape) > len(values) or (prod(view.shape) and last >= len(values)):
        raise ValueError("a tensor is larger than what is kept of it")
    strides = tuple(stride * values.itemsize for stride in view.strides)
    return np.lib.stride_tricks.as_strided(values[view.offset :], view.shape, strides).copy()
