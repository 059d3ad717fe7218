"""TensorFlow Lite networks, run by LiteRT."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

MAX_THREADS = 4
CHATTER = b"INFO: Created TensorFlow Lite XNNPACK delegate"

_stderr_lock = threading.Lock()


class Network:
    """A TensorFlow Lite network with one input; safe to share between threads."""

    def __init__(self, content: bytes) -> None:
        """Load the network from the bytes of its file."""
        from ai_edge_litert.interpreter import Interpreter

        threads = min(MAX_THREADS, os.cpu_count() or 1)
        with _without_chatter():
            self._interpreter = Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]
        self._lock = threading.Lock()

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        """Return all outputs for the float32 input ``x`` (its shape must be the network's own)."""
        with self._lock:
            self._interpreter.set_tensor(self._input, np.ascontiguousarray(x, dtype=np.float32))
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._outputs]


def load_networks(bundle: Path, members: tuple[str, ...]) -> list[Network]:
    """Load networks out of a MediaPipe task file, which is a zip of tflite files."""
    with zipfile.ZipFile(bundle) as archive:
        return [Network(archive.read(member)) for member in members]


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Take LiteRT's greeting out of standard error, which has no setting for it; all else is passed on afterwards."""
    if sys.__stderr__ is None:  # a program without a console: descriptor 2 may be any file
        yield
        return
    with _stderr_lock:
        try:
            held, stderr = tempfile.TemporaryFile(), os.dup(2)
        except OSError:  # no room for a temporary file
            yield
            return
        with held:
            try:
                os.dup2(held.fileno(), 2)
                yield
            finally:
                sys.__stderr__.flush()
                os.dup2(stderr, 2)
                os.close(stderr)
                held.seek(0)
                sys.__stderr__.buffer.writelines(line for line in held if not line.startswith(CHATTER))
                sys.__stderr__.flush()
