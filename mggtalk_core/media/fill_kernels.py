"""Compiled relaxation; imported only when the first hole is filled, because numba takes a second to load."""

from __future__ import annotations

import numpy as np

from ..kernel_cache import compiled

_compile = compiled()
_F = np.float32
_QUARTER, _HALF, _ONE = _F(0.25), _F(0.5), _F(1.0)


@_compile
def _between(first, last, share):  # noqa: ANN001, ANN202 - numba infers the types
    """Return what `torch.lerp` does, exact at both ends."""
    way = last - first
    return first + share * way if share < _HALF else last - way * (_ONE - share)


@_compile
def relax(filled, image, weight, out):  # noqa: ANN001, ANN201
    """Write the mean of every pixel's four neighbours, and ``image`` where ``weight`` is 1, into ``out``.

    ``filled``, ``image`` and ``out`` are [C,H,W], ``weight`` is [H,W], all float32; the border is repeated.
    """
    channels, height, width = filled.shape
    for c in range(channels):
        for y in range(height):
            above, here, below = filled[c, max(y - 1, 0)], filled[c, y], filled[c, min(y + 1, height - 1)]
            for x in range(1, width - 1):
                mean = _QUARTER * (above[x] + below[x] + here[x - 1] + here[x + 1])
                out[c, y, x] = _between(mean, image[c, y, x], weight[y, x])
            for x in (0, width - 1):
                mean = _QUARTER * (above[x] + below[x] + here[max(x - 1, 0)] + here[min(x + 1, width - 1)])
                out[c, y, x] = _between(mean, image[c, y, x], weight[y, x])
