"""Compiled loops of the stencil solver; imported only when a surface is first integrated on the CPU.

Cells are numbered row after row, so the neighbours of a cell are one cell and one row away. The indices of the loops
inside the conjugate gradients are unsigned: a negative one would mean "from the end", and the test for it would keep
the compiler from using the processor's vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from ..kernel_cache import named_by_package

ONE = np.uint64(1)
SATURATED = 40.0
"""Beyond this the sigmoid differs from 0 or 1 by less than float64 resolves beside 1."""
DOUBLINGS = 7
SHRINK = 0.5**DOUBLINGS
"""exp(x) is the series at ``x * SHRINK``, at most 0.32, squared as often: 1e-14 exact, and it runs in vectors."""


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
    z: np.ndarray, slope: np.ndarray, target: np.ndarray, link: np.ndarray, far: int, k: float,
    starts: np.ndarray, stops: np.ndarray, weight: np.ndarray,
) -> float:  # fmt: skip
    """Set the weight of every forward equation along one axis (eq. 22), ``far`` cells a step; return the energy."""
    energy = 0.0
    for run in range(starts.size):
        for i in range(starts[run], stops[run]):
            s, t = slope[i], target[i]
            forward = s * (z[i + far] - z[i]) * link[i]
            backward = s * (z[i] - z[i - far]) * link[i - far]
            x = min(max(k * (forward * forward - backward * backward), -SATURATED), SATURATED) * SHRINK
            e = 1.0 + x * (1.0 + x * (0.5 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120 + x * (1 / 720 + x * (
                1 / 5040 + x * (1 / 40320 + x * (1 / 362880 + x * (1 / 3628800 + x / 39916800))))))))))  # fmt: skip
            for _ in range(DOUBLINGS):
                e = e * e
            w = 1.0 / (1.0 + e)
            weight[i] = w
            energy += w * (forward - t) ** 2 + (1.0 - w) * (backward - t) ** 2
    return energy


weights_along = _compile(_weights_along)


def _edges_along(
    z: np.ndarray, slope: np.ndarray, target: np.ndarray, link: np.ndarray, far: int, weight: np.ndarray,
    conductance: np.ndarray, diagonal: np.ndarray, right: np.ndarray, residual: np.ndarray,
) -> None:  # fmt: skip
    """Set the conductances of one axis' edges; add what they give to the diagonal, the right side and its residual."""
    for i in range(np.uint64(0), np.uint64(z.size) - far):
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
    p: np.ndarray, c: np.ndarray, d: np.ndarray, pull: np.ndarray, drawn: bool, image: np.ndarray,
    start: int, stop: int, width: int,
) -> float:  # fmt: skip
    """Write the matrix times ``p``; return the dot product of the two. ``c`` and ``d`` are conductances in x and y.

    Differences first: a constant has the image 0 then, to the last bit of float32 too.
    """
    total = p.dtype.type(0)
    for i in range(start, stop):
        v = p[i]
        q = c[i] * (v - p[i + ONE]) + c[i - ONE] * (v - p[i - ONE])
        q += d[i] * (v - p[i + width]) + d[i - width] * (v - p[i - width])
        if drawn:
            q += pull[i] * v
        image[i] = q
        total += q * v
    return np.float64(total)


def _turn(
    x: np.ndarray, p: np.ndarray, r: np.ndarray, scale: np.ndarray, step: float, beta: float, start: int, stop: int
) -> None:
    """Take the last step along the direction, then turn it: one pass over memory for both."""
    for i in range(start, stop):
        v = p[i]
        x[i] += step * v
        p[i] = scale[i] * r[i] + beta * v


def _reduce(
    r: np.ndarray, image: np.ndarray, scale: np.ndarray, step: float, start: int, stop: int
) -> tuple[float, float]:
    """Lower the residual by the step; return its square and that in the norm of the preconditioner."""
    square = r.dtype.type(0)
    power = r.dtype.type(0)
    for i in range(start, stop):
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
    c: np.ndarray, d: np.ndarray, pull: np.ndarray, drawn: bool, scale: np.ndarray,
    x: np.ndarray, r: np.ndarray, p: np.ndarray, image: np.ndarray,
    starts: np.ndarray, stops: np.ndarray, width: int, state: np.ndarray, goal: float, most: int,
) -> int:  # fmt: skip
    """Run up to ``most`` conjugate gradient iterations; return how many it took, fewer only when it is done.

    ``starts`` and ``stops`` bound the runs of cells that are worked on. ``state`` holds the square of the residual, its
    power (in the norm of the preconditioner), beta and the last step, and is carried from call to call; ``x`` lacks
    that step. Sums are of the arrays' own type within a run and float64 over the runs.
    """
    square, power, beta, step = state[0], state[1], state[2], state[3]
    done = 0
    while done < most and square > goal:
        for k in range(starts.size):
            _turn(x, p, r, scale, x.dtype.type(step), x.dtype.type(beta), starts[k], stops[k])
        curvature = 0.0
        for k in range(starts.size):
            curvature += _image(p, c, d, pull, drawn, image, starts[k], stops[k], width)
        if not curvature > 0.0:  # nothing left above rounding
            step = 0.0
            break
        step, before = power / curvature, power
        square, power = 0.0, 0.0
        for k in range(starts.size):
            more = _reduce(r, image, scale, x.dtype.type(step), starts[k], stops[k])
            square += more[0]
            power += more[1]
        beta = power / before
        done += 1
    state[0], state[1], state[2], state[3] = square, power, beta, step
    return done


iterate = _compile(_iterate)
