"""Names for compiled kernels in numba's cache on disk."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)


def named_by_package(function: Function) -> Function:
    """Give a kernel a name of its own under every package name that this code is loaded under.

    Numba names cache files by source file and function, but what is in them imports the module they were compiled
    in: the command line's ``mggtalk_core`` and the one inside a ComfyUI node pack must not read each other's.
    """
    function.__qualname__ = f"{function.__qualname__}_{zlib.crc32(function.__module__.encode()):08x}"
    return function
