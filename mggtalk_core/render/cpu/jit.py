"""How the kernels are compiled."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from pathlib import Path

import numba

from ...kernel_cache import named_by_package


def kernel(**options: object) -> Callable[[Callable], Callable]:
    """Return a decorator that compiles a function without the GIL, cached on disk where a folder can be written.

    Numba notices changes in a kernel's own file only; the name carries those of the others that it may call.
    """
    options = {"nogil": True, "error_model": "numpy", **options}

    def compiled(function: Callable) -> Callable:
        function = named_by_package(function)
        function.__qualname__ += f"_{_sources():08x}"
        try:
            return numba.njit(cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder for the cache can be written: compile in every process
            return numba.njit(**options)(function)

    return compiled


@functools.cache
def _sources() -> int:
    """Return a sum over the text of all kernels."""
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))
