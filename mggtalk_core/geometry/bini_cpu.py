"""The stencil solver on the CPU: compiled loops, one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from . import bini_kernels as kernels
from .bini_blocks import Blocks
from .bini_stencil import Stencil
from .bini_types import ROUNDING, SMALLEST_DIAGONAL, BiniOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALL_WORK = 100_000_000
"""Cells times iterations between two calls of ``on_step``: about a tenth of a second."""


class CompiledSolver:
    """Holds the weights and the vectors of the conjugate gradients from round to round."""

    def __init__(self, stencil: Stencil, options: BiniOptions) -> None:
        """Lay out the memory; all weights are one half."""
        self.stencil, self.options = stencil, options
        kind = np.dtype(options.precision)
        self.blocks = blocks = Blocks.build(stencil.inside.numpy(), kind)
        self.first, *self.neighbours = blocks.lines()
        self.axes = [[blocks.packed(each.numpy()) for each in maps] for *maps, _ in stencil.axes()]
        self.prior, self.prior_weight = (blocks.packed(each.numpy()) for each in (stencil.prior, stencil.prior_weight))
        self.inside = blocks.packed(stencil.inside.flatten().numpy().astype(np.float64)) > 0
        self.weights = [blocks.zeros() + 0.5 for _ in range(2)]
        self.conductances, self.sums = [blocks.zeros() for _ in range(2)], [blocks.zeros() for _ in range(3)]
        self.vectors = tuple(blocks.zeros(kind) for _ in range(4))
        self.matrix = tuple(blocks.zeros(kind) for _ in range(4))

    def reweigh(self, z: Float[Tensor, "n"]) -> float:
        """Set all bilateral weights for the unknowns ``z``; return the energy."""
        packed, energy = self.blocks.packed(z.numpy()), 0.0
        for axis, neighbours, weight in zip(self.axes, self.neighbours, self.weights, strict=True):
            energy += kernels.weights_along(packed, *axis, self.first, *neighbours, self.options.k, weight)
        return energy

    def solve(self, z: Float[Tensor, "n"], on_iterations: Callable[[], None]) -> tuple[Float[Tensor, "n"], int]:
        """Solve the linear system of the weights from ``z``; return the answer and the iterations.

        The system is set up in float64 around ``z`` and solved for the correction alone, so that float32 limits what
        a round can change, not how well the depth is known.
        """
        goal = self._linearize(self.blocks.packed(z.numpy()))
        places = self.blocks.up, self.blocks.down, np.uint64(self.blocks.lead), np.uint64(self.blocks.lanes)
        used, state = 0, np.zeros(2)
        every = max(1, CALL_WORK // self.blocks.count)
        while used < self.options.cg_iterations:
            on_iterations()
            most = min(every, self.options.cg_iterations - used)
            done = kernels.iterate(self.vectors, self.matrix, self.stencil.has_prior, *places, state, goal, most)
            used += done
            if done < most:
                break
        x, _, p, _ = self.vectors
        x += x.dtype.type(state[0]) * p
        return z + torch.from_numpy(self.blocks.unpacked(x, z.numel())), used

    def _linearize(self, z: NDArray[np.float64]) -> float:
        """Set matrix and residual at ``z``; return the goal, a squared residual."""
        for each in self.sums:
            each[:] = 0.0
        diagonal, right, residual = self.sums
        for axis, (_, ahead), weight, edges in zip(
            self.axes, self.neighbours, self.weights, self.conductances, strict=True
        ):
            kernels.edges_along(z, *axis, self.first, ahead, weight, edges, *self.sums)
        goal = self.options.cg_tolerance**2 * (right @ right)
        c, d, scale, drawn = self.matrix
        if self.stencil.has_prior:
            pull = self.prior_weight * np.median(diagonal[self.inside])
            drawn[:] = pull
            diagonal += pull
            residual += pull * (self.prior - z)
            right += pull * self.prior
        # Measured against the normals' side alone: a heavy prior would otherwise hide what it should not decide.
        goal = max(goal, ROUNDING**2 * (right @ right))
        c[:], d[:] = self.conductances
        np.divide(1.0, np.maximum(diagonal, SMALLEST_DIAGONAL, out=diagonal), out=diagonal)
        scale[:] = diagonal
        for each in self.vectors:
            each[:] = 0.0
        self.vectors[1][:] = residual
        return goal
