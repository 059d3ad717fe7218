"""Compiled kernels and their names in numba's cache on disk."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)


def named_by_package(function: Function) -> Function:
    """Give a kernel a name of its own under every package name that this code is loaded under.

    Numba names cache files by source file and function, but what is in them imports the module they were compiled
    in: the command line's ``mggtalk_core`` and the one inside a ComfyUI node pack must not read each other's.
    """
    function.__qualname__ = f"{function.__qualname__}_{zlib.crc32(function.__module__.encode()):08x}"
    return function


def compiled(*, sources: Iterable[Path] = (), **options: object) -> Callable[[Callable], Callable]:
    """Return a decorator that compiles a function without the GIL, cached on disk where a folder can be written.

    Numba notices changes in a kernel's own file only: ``sources`` are the other files whose functions it calls. What
    else they define must come in as an argument.
    """
    import numba

    options = {"nogil": True, "error_model": "numpy", **options}
    suffix = _sum_of(tuple(sources))

    def decorate(function: Callable) -> Callable:
        function = named_by_package(function)
        function.__qualname__ += suffix
        try:
            return numba.njit(cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder for the cache can be written: compile in every process
            return numba.njit(**options)(function)

    return decorate


@cache
def _sum_of(sources: tuple[Path, ...]) -> str:
    """Return the end of a kernel's name: a sum over the text of files."""
    return f"_{zlib.crc32(b''.join(path.read_bytes() for path in sources)):08x}" if sources else ""
