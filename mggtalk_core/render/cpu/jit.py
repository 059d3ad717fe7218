"""How the kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...kernel_cache import compiled


def kernel(**options: object) -> Callable[[Callable], Callable]:
    """Return the decorator of `compiled` for kernels that may call those of all files beside this one."""
    return compiled(sources=sorted(Path(__file__).parent.glob("*.py")), **options)
