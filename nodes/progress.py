"""Progress and Cancel: how a core that knows no ComfyUI is watched by one."""

from __future__ import annotations

from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.utils import ProgressBar


class Steps:
    """The ``on_step`` of a node: it moves the node's bar, and raises as soon as the user has pressed Cancel."""

    def __init__(self, first: int = 0, last: int = 100) -> None:
        """Show work from 0 to all of it as ``first`` to ``last`` percent of the node."""
        self._first, self._span = first, last - first
        self._bar = ProgressBar(100)
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        """Report ``done`` of ``total`` steps."""
        throw_exception_if_processing_interrupted()
        percent = self._first + self._span * min(done, total) // max(total, 1)
        if percent != self._shown:
            self._shown = percent
            self._bar.update_absolute(percent)
