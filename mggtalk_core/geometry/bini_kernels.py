"""Compiled loops of the stencil solver; imported only when a surface is first integrated on the CPU.

Cells are numbered row after row, so a neighbour is a slice of the same array, moved by one cell or by one row: loops
over slices have neither index checks nor branches and run at the width of the processor's vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from ..kernel_cache import named_by_package

EXPONENT_LIMIT = 700.0
"""exp() of more than this overflows float64; the sigmoid is long saturated there."""


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the interpreter lock, keeping the machine code on disk where a folder is writable.

    Sums may be taken in any order (or they would not run in vectors): the order is fixed when a kernel is compiled.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"}}
    function = named_by_package(function)
    try:
        return numba.njit(cache=True, **options)(function)
    except (RuntimeError, OSError):  # no writable cache folder: compile anew in every process
        return numba.njit(**options)(function)


def _weights_along(
    z: np.ndarray, slope: np.ndarray, target: np.ndarray, link: np.ndarray, far: int, k: float, weight: np.ndarray
) -> float:
    """Set the weight of every forward equation along one axis (eq. 22), ``far`` cells a step; return the energy."""
    energy = 0.0
    for i in range(far, z.size - far):
        s, t = slope[i], target[i]
        if s == 0.0 and t == 0.0:
            continue
        forward = s * (z[i + far] - z[i]) * link[i]
        backward = s * (z[i] - z[i - far]) * link[i - far]
        exponent = min(max(k * (backward * backward - forward * forward), -EXPONENT_LIMIT), EXPONENT_LIMIT)
        w = 1.0 / (1.0 + np.exp(-exponent))
        weight[i] = w
        energy += w * (forward - t) ** 2 + (1.0 - w) * (backward - t) ** 2
    return energy


weights_along = _compile(_weights_along)


def _edges_along(
    z: np.ndarray, slope: np.ndarray, target: np.ndarray, link: np.ndarray, far: int, weight: np.ndarray,
    conductance: np.ndarray, diagonal: np.ndarray, right: np.ndarray, residual: np.ndarray,
) -> None:  # fmt: skip
    """Set the conductances of one axis' edges; add what they give to the diagonal, the right side and its residual."""
    for i in range(z.size - far):
        if link[i] == 0.0:
            continue
        j = i + far
        before, after = weight[i] * slope[i], (1.0 - weight[j]) * slope[j]
        c = before * slope[i] + after * slope[j]
        flow = before * target[i] + after * target[j]
        rest = flow - c * (z[j] - z[i])
        conductance[i] = c
        diagonal[i] += c
        diagonal[j] += c
        right[i] -= flow
        right[j] += flow
        residual[i] -= rest
        residual[j] += rest


edges_along = _compile(_edges_along)


def _image(
    here: np.ndarray, right: np.ndarray, left: np.ndarray, below: np.ndarray, above: np.ndarray,
    to_right: np.ndarray, to_left: np.ndarray, to_below: np.ndarray, to_above: np.ndarray,
    pull: np.ndarray, image: np.ndarray,
) -> float:  # fmt: skip
    """Write the matrix times ``here``; return the dot product of the two.

    Differences first: a constant has the image 0 then, to the last bit of float32 too.
    """
    total = here.dtype.type(0)
    for i in range(here.size):
        v = here[i]
        q = to_right[i] * (v - right[i]) + to_left[i] * (v - left[i])
        q += to_below[i] * (v - below[i]) + to_above[i] * (v - above[i]) + pull[i] * v
        image[i] = q
        total += q * v
    return np.float64(total)


def _turn(x: np.ndarray, p: np.ndarray, r: np.ndarray, scale: np.ndarray, step: float, beta: float) -> None:
    """Take the last step along the direction, then turn it: one pass over memory for both."""
    for i in range(p.size):
        v = p[i]
        x[i] += step * v
        p[i] = scale[i] * r[i] + beta * v


def _reduce(r: np.ndarray, image: np.ndarray, scale: np.ndarray, step: float) -> tuple[float, float]:
    """Lower the residual by the step; return its square and that in the norm of the preconditioner."""
    square = r.dtype.type(0)
    power = r.dtype.type(0)
    for i in range(r.size):
        v = r[i] - step * image[i]
        r[i] = v
        v2 = v * v
        square += v2
        power += scale[i] * v2
    return np.float64(square), np.float64(power)


_image = _compile(_image)
_turn = _compile(_turn)
_reduce = _compile(_reduce)


def _iterate(
    conductance_x: np.ndarray, conductance_y: np.ndarray, pull: np.ndarray, scale: np.ndarray,
    x: np.ndarray, r: np.ndarray, p: np.ndarray, image: np.ndarray,
    starts: np.ndarray, stops: np.ndarray, width: int, state: np.ndarray, goal: float, most: int,
) -> int:  # fmt: skip
    """Run up to ``most`` conjugate gradient iterations; return how many it took, fewer only when it is done.

    ``starts`` and ``stops`` bound the runs of cells that are worked on. ``state`` holds the square of the residual, its
    power (in the norm of the preconditioner), beta and the last step, and is carried from call to call; ``x`` lacks
    that step. Sums are of the arrays' own type within a run and float64 over the runs.
    """
    square, power, beta, step = state[0], state[1], state[2], state[3]
    c, d, n = conductance_x, conductance_y, width
    done = 0
    while done < most and square > goal:
        for k in range(starts.size):
            a, b = starts[k], stops[k]
            _turn(x[a:b], p[a:b], r[a:b], scale[a:b], x.dtype.type(step), x.dtype.type(beta))
        curvature = 0.0
        for k in range(starts.size):
            a, b = starts[k], stops[k]
            curvature += _image(
                p[a:b], p[a + 1 : b + 1], p[a - 1 : b - 1], p[a + n : b + n], p[a - n : b - n],
                c[a:b], c[a - 1 : b - 1], d[a:b], d[a - n : b - n], pull[a:b], image[a:b],
            )  # fmt: skip
        if not curvature > 0.0:  # nothing left above rounding
            step = 0.0
            break
        step, before = power / curvature, power
        square, power = 0.0, 0.0
        for k in range(starts.size):
            a, b = starts[k], stops[k]
            more = _reduce(r[a:b], image[a:b], scale[a:b], x.dtype.type(step))
            square += more[0]
            power += more[1]
        beta = power / before
        done += 1
    state[0], state[1], state[2], state[3] = square, power, beta, step
    return done


iterate = _compile(_iterate)
