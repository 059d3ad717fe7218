"""Long pieces of work spread over processes of one thread each, so that they can be stopped at any time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.synchronize import Event
from typing import TypeVar

import torch

from .progress import OnStep

T = TypeVar("T")
R = TypeVar("R")
Work = Callable[[T, OnStep], R]
"""A piece of work: takes an item and what to call at least every half second."""

_stop: Event | None = None


class _StoppedError(Exception):
    """The process that asked for the work wants no more of it."""


def in_processes(work: Work[T, R], items: Sequence[T], jobs: int, alive: Callable[[], None]) -> Iterator[tuple[T, R]]:
    """Yield every item with its result as they are done, ``jobs`` at once; one job works in this process, in order.

    ``work`` and ``items`` must be such as can be sent to processes. ``alive`` is called at least every half second;
    raising from it, or closing the iterator, stops the work. The items are begun in their order.
    """
    if jobs <= 1:
        for item in items:
            yield item, work(item, lambda done, total: alive())
        return
    context = multiprocessing.get_context("spawn")  # torch and its threads do not survive a fork
    stop = context.Event()
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(stop,))
    try:
        waiting: dict[Future[R], T] = {pool.submit(_call, work, item): item for item in items}
        while waiting:
            alive()
            for future in wait(waiting, timeout=0.3, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def in_order(done: Iterable[tuple[tuple[int, T], R]]) -> Iterator[R]:
    """Yield results of numbered items (0, 1, ...) by their numbers; those that come too early wait."""
    early: dict[int, R] = {}
    following = 0
    for (number, _), result in done:
        early[number] = result
        while following in early:
            yield early.pop(following)
            following += 1


def _start(stop: Event) -> None:
    global _stop
    _stop = stop
    torch.set_num_threads(1)
    one_thread_in_kernels()


def one_thread_in_kernels() -> None:
    """Let OpenCV and the compiled kernels of this process use one thread."""
    import cv2
    import numba

    cv2.setNumThreads(1)
    numba.set_num_threads(1)


def _call(work: Work[T, R], item: T) -> R:
    return work(item, _check_stop)


def _check_stop(done: int, total: int) -> None:
    if _stop is not None and _stop.is_set():
        raise _StoppedError
