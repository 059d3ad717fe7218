"""Compiled loops of the stencil solver; imported only when a surface is first integrated on the CPU.

The cells lie in memory as `bini_blocks.Blocks` says, and the loops take a line of them at a time (`bini_lanes`). The
indices are unsigned: a negative one would mean "from the end", and each access would test for it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..kernel_cache import compiled
from .bini_lanes import after, before, limited, load, spread, store, total

ONE = np.uint64(1)
SATURATED = 40.0
"""Beyond this the sigmoid differs from 0 or 1 by less than float64 resolves beside 1."""
DOUBLINGS = 7
SHRINK = 0.5**DOUBLINGS
"""exp(x) is the series at ``x * SHRINK``, at most 0.32, squared as often: 1e-14 exact, and it runs in vectors."""
SERIES = tuple(1.0 / float(math.factorial(power)) for power in range(11, -1, -1))


_compile = compiled(sources=(Path(__file__).with_name("bini_lanes.py"),))


def _weights_along(
    z: np.ndarray, slope: np.ndarray, target: np.ndarray, link: np.ndarray,
    first: np.ndarray, behind: np.ndarray, ahead: np.ndarray, k: float, weight: np.ndarray,
) -> float:  # fmt: skip
    """Set the weight of every forward equation along one axis (eq. 22); return the energy.

    ``first``, ``behind`` and ``ahead`` are where lines begin, and those of the neighbours along the axis.
    """
    one, energy = spread(1.0), spread(0.0)
    sharpness, most, shrink = spread(k), spread(SATURATED), spread(SHRINK)
    for n in range(first.size):
        i = first[n]
        here, s, t = load(z, i), load(slope, i), load(target, i)
        forward = s * (load(z, ahead[n]) - here) * load(link, i)
        backward = s * (here - load(z, behind[n])) * load(link, behind[n])
        x = limited(sharpness * (forward * forward - backward * backward), most) * shrink
        e = spread(SERIES[0])
        for c in range(1, len(SERIES)):
            e = e * x + spread(SERIES[c])
        for _ in range(DOUBLINGS):
            e = e * e
        w = one / (one + e)
        store(weight, i, w)
        forward, backward = forward - t, backward - t
        energy = energy + w * forward * forward + (one - w) * backward * backward
    return total(energy)


weights_along = _compile(_weights_along)


def _edges_along(
    z: np.ndarray, slope: np.ndarray, target: np.ndarray, link: np.ndarray, first: np.ndarray, ahead: np.ndarray,
    weight: np.ndarray, conductance: np.ndarray, flow: np.ndarray, rest: np.ndarray,
) -> None:  # fmt: skip
    """Set the conductances of one axis' edges, the flow that the targets ask for, and what ``z`` leaves of it."""
    one = spread(1.0)
    for n in range(first.size):
        i, j = first[n], ahead[n]
        s, t = load(slope, i), load(slope, j)
        here, there = load(weight, i) * s * load(link, i), (one - load(weight, j)) * t * load(link, i)
        c = here * s + there * t
        wanted = here * load(target, i) + there * load(target, j)
        store(conductance, i, c)
        store(flow, i, wanted)
        store(rest, i, wanted - c * (load(z, j) - load(z, i)))


edges_along = _compile(_edges_along)


def _gather(
    along_x: np.ndarray, along_y: np.ndarray, first: np.ndarray, left: np.ndarray, above: np.ndarray,
    sign: float, into: np.ndarray,
) -> None:  # fmt: skip
    """Sum what every cell gets from its edges: its own two, times ``sign``, and those that arrive from behind."""
    own = spread(sign)
    for n in range(first.size):
        i = first[n]
        sent = load(along_x, i) + load(along_y, i)
        store(into, i, own * sent + load(along_x, left[n]) + load(along_y, above[n]))


gather = _compile(_gather)


def _advance(
    x: np.ndarray, r: np.ndarray, p: np.ndarray, image: np.ndarray, scale: np.ndarray, step: Any, beta: Any, i: int
) -> tuple[Any, Any]:
    """Take the last step along the direction and turn it, in one block; return what the residual's sums gain."""
    v = load(p, i)
    store(x, i, load(x, i) + step * v)
    rest = load(r, i) - step * load(image, i)
    store(r, i, rest)
    scaled = load(scale, i) * rest
    store(p, i, scaled + beta * v)
    return rest * rest, scaled * rest


_advance = _compile(_advance)


def _sweep(
    vectors: tuple[np.ndarray, ...], matrix: tuple[np.ndarray, ...], drawn: bool,
    up: np.ndarray, down: np.ndarray, lead: int, lanes: int, step: float, beta: float,
) -> tuple[float, float, float, float]:  # fmt: skip
    """Take a step, turn the direction ``p`` and write the matrix times it, in one pass over the memory.

    Differences first: a constant has the image 0 then, to the last bit of float32 too. Sums are of the arrays' own type
    within a lane, of which there are 16 in float32, and float64 over the lanes.

    Returns:
        The residual's square and its power (in the norm of the preconditioner), the curvature along the direction and
        the power of the image.

    """
    (x, r, p, image), (c, d, scale, pull) = vectors, matrix
    step, beta, nothing = spread(step), spread(beta), spread(x.dtype.type(0))
    square, power, curvature, image_power, flow = nothing, nothing, nothing, nothing, nothing
    for block in range(ONE, min(up.size, lead + ONE)):
        more = _advance(x, r, p, image, scale, step, beta, block * lanes)
        square, power = square + more[0], power + more[1]
    following = load(p, lanes)
    for block in range(ONE, up.size):
        i, u = block * lanes, up[block]
        if block + lead < up.size:
            more = _advance(x, r, p, image, scale, step, beta, i + lead * lanes)
            square, power = square + more[0], power + more[1]
        v, following = following, load(p, i + lanes)
        last, flow = flow, load(c, i) * (v - after(v, following))
        q = flow - before(last, flow) + load(d, i) * (v - load(p, down[block])) + load(d, u) * (v - load(p, u))
        if drawn:
            q = q + load(pull, i) * v
        store(image, i, q)
        curvature, image_power = curvature + q * v, image_power + load(scale, i) * q * q
    return total(square), total(power), total(curvature), total(image_power)


_sweep = _compile(_sweep)


def _iterate(
    vectors: tuple[np.ndarray, ...], matrix: tuple[np.ndarray, ...], drawn: bool,
    up: np.ndarray, down: np.ndarray, lead: int, lanes: int, state: np.ndarray, goal: float, most: int,
) -> int:  # fmt: skip
    """Run up to ``most`` conjugate gradient iterations; return how many it took, fewer only when it is done.

    The residual's power after a step is foretold from the image, so that the direction can be turned in the same pass,
    and measured there (Meurant, Parallel Computing 5, 1987; "M-CG" of Chen and Carson, arXiv 1905.01549).

    Args:
        vectors: the answer, its residual, the direction and the matrix times it; zeros but the residual, at first.
        matrix: conductances in x and in y, the preconditioner, and the prior's pull (read if ``drawn``).
        drawn: whether there is a prior.
        up: see `Blocks`, like ``down``, ``lead`` and ``lanes``.
        state: the last step, which the answer lacks, and beta; carried from call to call.
        goal: squared residual to reach.
        most: iterations.

    """
    step, beta = state[0], state[1]
    kind = vectors[0].dtype.type
    done = 0
    while done < most:
        square, power, curvature, image_power = _sweep(
            vectors, matrix, drawn, up, down, lead, lanes, kind(step), kind(beta)
        )
        if not (square > goal and curvature > 0.0):  # it is there, or nothing is left above rounding
            step = 0.0
            break
        step = power / curvature
        beta = max(step * step * image_power / power - 1.0, 0.0)
        done += 1
    state[0], state[1] = step, beta
    return done


iterate = _compile(_iterate)
