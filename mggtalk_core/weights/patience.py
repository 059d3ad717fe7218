"""Run work that blocks beside a caller that must stay responsive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from ..progress import OnStep

_BEAT = 0.2
"""Seconds between two calls of ``on_step``; half a second is the most that is allowed."""

Result = TypeVar("Result")


class Work:
    """What blocking work shares with its caller: how far it has come, and whether to stop."""

    def __init__(self, total: int) -> None:
        self.done = 0
        self.total = total
        self._stop = threading.Event()

    @property
    def stopped(self) -> bool:
        """True once the caller has given up; the work must touch no file from then on."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the work to end."""
        self._stop.set()


def run_patiently(work: Callable[[Work], Result], total: int, on_step: OnStep) -> Result:
    """Run ``work`` on a thread, call ``on_step`` several times a second, and return what the work returns.

    An error of the work is raised here. If ``on_step`` raises, the work is asked to stop and the error passes on.
    """
    shared = Work(total)
    results: list[Result] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(work(shared))
        except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
            errors.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_BEAT)
            on_step(min(shared.done, shared.total), shared.total)
    except BaseException:
        shared.stop()
        thread.join(5 * _BEAT)
        raise
    if errors:
        raise errors[0]
    return results[0]
