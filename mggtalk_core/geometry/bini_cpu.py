"""The stencil solver on the CPU: compiled loops, one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from . import bini_kernels as kernels
from .bini_stencil import Stencil
from .bini_types import ROUNDING, SMALLEST_DIAGONAL, BiniOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINE = 64
"""Bytes that a processor fetches at once; vectors that start with a line are not split."""
QUANTUM = 16
"""Runs of the mask begin and end at multiples of this many cells: nothing is left over from the widest vectors."""
RUN = 16384
"""Longest run: float32 sums of no more terms than this keep five digits."""
CALL_WORK = 50_000_000
"""Cells times iterations between two calls of ``on_step``: about a tenth of a second."""


class CompiledSolver:
    """Holds the weights and the vectors of the conjugate gradients from round to round."""

    def __init__(self, stencil: Stencil, options: BiniOptions) -> None:
        """Lay out the memory; all weights are one half."""
        self.stencil, self.options = stencil, options
        count = stencil.prior.numel()
        self.axes = [(*(each.numpy() for each in maps), np.uint64(far)) for *maps, far in stencil.axes()]
        self.weights = [np.full(count, 0.5), np.full(count, 0.5)]
        kind = np.dtype(options.precision)
        self.conductances = [_zeros(count, kind), _zeros(count, kind)]
        self.pull, self.scale, self.x, self.r, self.p, self.image = (_zeros(count, kind) for _ in range(6))
        self.sums = np.zeros((3, count))
        self.starts, self.stops = _runs(stencil.inside)

    def reweigh(self, z: Float[Tensor, "n"]) -> float:
        """Set all bilateral weights for the unknowns ``z``; return the energy."""
        pairs = zip(self.axes, self.weights, strict=True)
        runs = self.starts, self.stops
        return sum(kernels.weights_along(z.numpy(), *axis, self.options.k, *runs, weight) for axis, weight in pairs)

    def solve(self, z: Float[Tensor, "n"], on_iterations: Callable[[], None]) -> tuple[Float[Tensor, "n"], int]:
        """Solve the linear system of the weights from ``z``; return the answer and the iterations.

        The system is set up in float64 around ``z`` and solved for the correction alone, so that float32 limits what
        a round can change, not how well the depth is known.
        """
        state, goal = self._linearize(z.numpy())
        used, runs = 0, (self.starts, self.stops)
        every = max(1, CALL_WORK // z.numel())
        while used < self.options.cg_iterations:
            on_iterations()
            most = min(every, self.options.cg_iterations - used)
            done = kernels.iterate(
                *self.conductances, self.pull, self.stencil.has_prior, self.scale, self.x, self.r, self.p, self.image,
                *runs, np.uint64(self.stencil.width), state, goal, most,
            )  # fmt: skip
            used += done
            if done < most:
                break
        self.x += self.x.dtype.type(state[3]) * self.p
        return z + torch.from_numpy(self.x.astype(np.float64)), used

    def _linearize(self, z: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Set matrix and residual at ``z``; return the state of the iteration and its goal, a squared residual."""
        self.sums[:] = 0.0
        diagonal, right, residual = self.sums
        for axis, weight, conductance in zip(self.axes, self.weights, self.conductances, strict=True):
            kernels.edges_along(z, *axis, weight, conductance, diagonal, right, residual)
        prior, goal = self.stencil.prior.numpy(), self.options.cg_tolerance**2 * (right @ right)
        if self.stencil.has_prior:
            inside = self.stencil.order.numpy()
            pull = self.stencil.prior_weight.numpy() * np.median(diagonal[inside])
            self.pull[:] = pull
            diagonal += pull
            residual += pull * (prior - z)
            right += pull * prior
        # Measured against the normals' side alone: a heavy prior would otherwise hide what it should not decide.
        goal = max(goal, ROUNDING**2 * (right @ right))
        scale = np.reciprocal(np.maximum(diagonal, SMALLEST_DIAGONAL, out=diagonal), out=diagonal)
        self.scale[:], self.r[:] = scale, residual
        self.x[:], self.p[:] = 0.0, 0.0
        return np.array([residual @ residual, residual @ (scale * residual), 0.0, 0.0]), goal


def _zeros(count: int, kind: np.dtype) -> NDArray[np.floating]:
    """Return zeros that start with a line of the cache."""
    memory = np.zeros(count * kind.itemsize + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + count * kind.itemsize].view(kind)


def _runs(inside: Bool[Tensor, "rows width"]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return first and last-plus-one cell of the stretches to work on: the mask in whole blocks, short gaps filled."""
    count, width = inside.numel(), inside.shape[1]
    flat = np.zeros(-(-count // QUANTUM) * QUANTUM, bool)
    flat[:count] = inside.flatten().numpy()
    blocks = np.flatnonzero(flat.reshape(-1, QUANTUM).any(axis=1))
    breaks = np.flatnonzero((np.diff(blocks) > 2) | (np.diff(blocks * QUANTUM // RUN) > 0))
    first = blocks[np.append(0, breaks + 1)] * QUANTUM
    last = (blocks[np.append(breaks, len(blocks) - 1)] + 1) * QUANTUM
    # The rows of the border are nobody's: their cells have neighbours outside the arrays.
    return np.maximum(first, width).astype(np.uint64), np.minimum(last, count - width).astype(np.uint64)
