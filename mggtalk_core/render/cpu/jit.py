"""How the kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable

import numba

from ...kernel_cache import named_by_package


def kernel(**options: object) -> Callable[[Callable], Callable]:
    """Return a decorator that compiles a function without the GIL, cached on disk where a folder can be written.

    Kernels call only kernels of their own file: numba notices changes in no other.
    """
    options = {"nogil": True, "error_model": "numpy", **options}

    def compiled(function: Callable) -> Callable:
        function = named_by_package(function)
        try:
            return numba.njit(cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder for the cache can be written: compile in every process
            return numba.njit(**options)(function)

    return compiled
