"""Third pass: the splats of each tile, front to back."""

from __future__ import annotations

import numpy as np

from .. import splatting as rule
from .binning import TILE
from .jit import kernel

F = np.float32
U = np.uint64
_LINE = 5 * TILE  # a row of the tile buffer: transmittance, r, g, b, weighted depth
_CHECK = 16  # splats between two looks at whether the whole tile is finished
_FAST = {"contract", "arcp", "nsz", "reassoc"}
_MAX_ALPHA, _MIN_TRANSMITTANCE, _MIN_WEIGHT = F(rule.MAX_ALPHA), F(rule.MIN_TRANSMITTANCE), F(rule.MIN_WEIGHT)


def _exponential() -> tuple[np.float32, ...]:
    """Fit exp(-u) on 0..0.7 by a polynomial of degree 5; its eighth power is exp(-s) on 0..5.6, to 2e-7."""
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(lambda u: np.exp(-u), 5, domain=[0, 0.7])
    return tuple(F(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


_E0, _E1, _E2, _E3, _E4, _E5 = _exponential()


@kernel(fastmath=True)
def _row(buffer, line, mx, constant, linear, square, opacity, reach, r, g, b, depth):  # noqa: ANN001, ANN202
    """Blend one splat into 16 pixels: branch-free and with unsigned indices, so that it becomes vector code.

    A finished pixel keeps its transmittance with the sign turned.
    """
    for column in range(TILE):
        i = U(column) + U(line)
        dx = mx - F(column)
        exponent = square * dx * dx + constant + linear * dx
        u = min(max(exponent, F(0)), F(5.6)) * F(0.125)
        e = ((((_E5 * u + _E4) * u + _E3) * u + _E2) * u + _E1) * u + _E0
        e = e * e
        e = e * e
        alpha = min(_MAX_ALPHA, opacity * (e * e))
        light = buffer[i]
        alpha = alpha if (exponent <= reach) & (light > F(0)) else F(0)
        weight = alpha * light
        left = light - weight
        done = (left <= _MIN_TRANSMITTANCE) & (light > F(0))
        weight = F(0) if done else weight
        buffer[i] = -light if done else left
        buffer[i + U(TILE)] += weight * r
        buffer[i + U(2 * TILE)] += weight * g
        buffer[i + U(3 * TILE)] += weight * b
        buffer[i + U(4 * TILE)] += weight * depth


@kernel(fastmath=_FAST)
def _finished(buffer):  # noqa: ANN001, ANN202
    most = F(-1)
    for row in range(TILE):
        for column in range(TILE):
            most = max(most, buffer[U(row * _LINE) + U(column)])
    return most < F(0)


@kernel(fastmath=_FAST)
def _blend_tile(records, entries, first, last, left, top, buffer):  # noqa: ANN001, ANN202
    for k in range(first, last):
        if (k - first) % _CHECK == _CHECK - 1 and _finished(buffer):
            return
        i = entries[U(k)] & U(0xFFFFFFFF)
        mx, my = records[i, 0] - F(left) - F(0.5), records[i, 1] - F(top) - F(0.5)
        half_a, b, half_c = records[i, 2], records[i, 3], records[i, 4]
        opacity, reach, depth = records[i, 5], records[i, 10], records[i, 9]
        red, green, blue = records[i, 6], records[i, 7], records[i, 8]
        for row in range(max(int(records[i, 12]) - top, 0), min(int(records[i, 14]) - top, TILE)):
            dy = my - F(row)
            _row(
                buffer, row * _LINE, mx, half_c * dy * dy, b * dy, half_a, opacity, reach, red, green, blue, depth
            )


@kernel(fastmath=_FAST)
def _write_tile(buffer, left, top, image):  # noqa: ANN001, ANN202
    for row in range(min(TILE, image.shape[1] - top)):
        for column in range(min(TILE, image.shape[2] - left)):
            i, y, x = U(row * _LINE + column), U(top + row), U(left + column)
            alpha = F(1) - abs(buffer[i])
            for k in range(3):
                image[k, y, x] = buffer[i + U((k + 1) * TILE)]
            image[3, y, x] = alpha
            image[4, y, x] = buffer[i + U(4 * TILE)] / max(alpha, _MIN_WEIGHT)


@kernel(fastmath=_FAST)
def blend(records, entries, offsets, columns, first, last, image):  # noqa: ANN001, ANN201
    """Draw tiles first..last-1 into ``image`` [5,H,W]: premultiplied colour, alpha, expected depth."""
    buffer = np.empty(TILE * _LINE, np.float32)
    for tile in range(first, last):
        buffer[:] = F(0)
        for row in range(TILE):
            for column in range(TILE):
                buffer[U(row * _LINE) + U(column)] = F(1)
        left, top = tile % columns * TILE, tile // columns * TILE
        _blend_tile(records, entries, offsets[tile], offsets[tile + 1], left, top, buffer)
        _write_tile(buffer, left, top, image)
