"""How long work reports its progress and is cancelled."""

from __future__ import annotations

from collections.abc import Callable

OnStep = Callable[[int, int], None]
"""``on_step(done, total)``: called at least every half second; raising from it aborts the work cleanly."""


def ignore_steps(done: int, total: int) -> None:
    """Do nothing: the default ``on_step``."""
