"""Threads for kernels that release the GIL."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable


def share(task: Callable[[int], None], count: int, threads: int) -> None:
    """Run ``task(0) .. task(count - 1)``, each exactly once, on the calling thread and ``threads - 1`` more.

    A worker takes the next task as soon as it is free, so uneven tasks balance. The first error is raised here.
    Threads live for one call (60 microseconds each): nothing is left behind to survive a fork or hold up an exit.
    """
    tickets = itertools.count()  # next() on it is atomic
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while not errors and (ticket := next(tickets)) < count:
                task(ticket)
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            errors.append(error)

    helpers = [threading.Thread(target=work, daemon=True) for _ in range(min(threads, count) - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if errors:
        raise errors[0]
