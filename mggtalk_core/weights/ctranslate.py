"""Arrays out of a model file of CTranslate2: names, shapes and numbers one after the other."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

import numpy as np

from ..errors import WeightsError

_KINDS = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_arrays(path: str | os.PathLike[str], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file whose names begin with ``prefix``, by the rest of their names.

    Little of the file is read: the others are passed over.

    Raises:
        WeightsError: the file is missing, damaged or something else.
    """
    try:
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return {name[len(prefix) :]: array for name, array in _Reader(data).arrays(prefix)}
    except (OSError, ValueError, KeyError, struct.error) as problem:
        raise WeightsError(
            f"{Path(path).name} is no model that can be read; remove it and fetch it again."
        ) from problem


class _Reader:
    """A place in the bytes that moves on with everything that is read."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 0

    def arrays(self, prefix: str) -> list[tuple[str, np.ndarray]]:
        self._number("I")  # version
        self._text()
        self._number("I")  # revision
        found = []
        for _ in range(self._number("I")):
            name = self._text()
            shape = [self._number("I") for _ in range(self._number("B"))]
            kind, size = np.dtype(_KINDS[self._number("B")]), self._number("I")
            if name.startswith(prefix):
                flat = np.frombuffer(self._data[self._at : self._at + size], kind)
                found.append((name, flat.reshape(shape)))
            self._at += size
        return found

    def _number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self._data, self._at)
        self._at += struct.calcsize(kind)
        return value

    def _text(self) -> str:
        length = self._number("H")
        self._at += length
        return self._data[self._at - length : self._at - 1].decode()  # ends with a zero
