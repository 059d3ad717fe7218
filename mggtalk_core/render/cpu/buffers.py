"""Memory that goes from frame to frame."""

from __future__ import annotations

import threading

import numpy as np


class Buffers:
    """Scratch memory of one render; grows, never shrinks."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Return an array of that shape under ``name``; what it holds is left from before."""
        size = int(np.prod(shape))
        held = self._arrays.get(name)
        if held is None or held.size < size:
            held = self._arrays[name] = np.empty(size + size // 4, dtype)
        return held[:size].reshape(shape)


class Pool:
    """Buffers lent to renders, which may run at the same time."""

    def __init__(self) -> None:
        self._idle: list[Buffers] = []
        self._lock = threading.Lock()

    def borrow(self) -> Buffers:
        """Return buffers that no other render has."""
        with self._lock:
            return self._idle.pop() if self._idle else Buffers()

    def give_back(self, buffers: Buffers) -> None:
        """Take back what was borrowed."""
        with self._lock:
            self._idle.append(buffers)
