"""Frames spread over the cores, in order and with bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def worker_count() -> int:
    """Return how many frames to work on at once: one per core this process may use, at most 8."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return max(1, min(cores, 8))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the body with one thread inside each operation of torch, numpy and scipy, then as before.

    Building a head is a long row of short operations: on busy cores their threads spend their time waiting for each
    other, many times longer than the work itself takes.
    """
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: int | None = None) -> Iterator[R]:
    """Yield ``function(item)`` for every item, in order, computing up to ``workers`` items at once.

    At most ``workers + 1`` results wait to be taken. An exception of one item is raised in its turn, and closing the
    iterator stops the work. Results do not depend on the number of workers. Until then BLAS runs one thread in the
    whole process.
    """
    from threadpoolctl import threadpool_limits

    workers, threads = workers or worker_count(), torch.get_num_threads()
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="frame", initializer=_one_thread_each)
    try:
        with threadpool_limits(1, user_api="blas"):
            for item in items:
                waiting.append(pool.submit(_call, function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        # What a worker sets becomes the default of every thread that starts later in this process.
        torch.set_num_threads(threads)


def _one_thread_each() -> None:
    # Frames already fill the cores: threads inside one operation would only wait for each other.
    torch.set_num_threads(1)


def _call(function: Callable[[T], R], item: T) -> R:
    # inference_mode is a property of the thread, not of the process.
    with torch.inference_mode():
        return function(item)
