"""What a node says when a Python package is missing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..mggtalk_core.errors import InputError

Inputs = ParamSpec("Inputs")
Result = TypeVar("Result")

PIP_NAMES = {"ai_edge_litert": "ai-edge-litert", "cv2": "opencv-python", "PIL": "pillow"}
"""Packages whose name in pip is not that of their module."""


def needs_packages(execute: Callable[Inputs, Result]) -> Callable[Inputs, Result]:
    """Let a node's ``execute`` say which pip command helps: packages are imported when a node that needs them runs."""

    @functools.wraps(execute)
    def checked(*inputs: Inputs.args, **named: Inputs.kwargs) -> Result:
        try:
            return execute(*inputs, **named)
        except ModuleNotFoundError as error:
            module = (error.name or str(error)).split(".")[0]
            package = PIP_NAMES.get(module, module)
            raise InputError(
                f"The Python package {module} is missing: run 'pip install {package}' in ComfyUI's Python environment, "
                "then start ComfyUI again."
            ) from error

    return checked
