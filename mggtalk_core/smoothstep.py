"""The smooth step between two values."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from torch import Tensor

Values = TypeVar("Values", np.ndarray, Tensor)


def smoothstep(x: Values, start: float | Values, end: float | Values) -> Values:
    """Rise from 0 at ``start`` to 1 at ``end`` with no slope at either; ``end`` may be the smaller one."""
    t = ((x - start) / (end - start)).clip(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
