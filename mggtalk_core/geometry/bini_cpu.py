"""The stencil solver on the CPU: compiled loops, one thread."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from . import bini_kernels as kernels
from .bini_blocks import Blocks
from .bini_stencil import Stencil
from .bini_types import ROUNDING, SMALLEST_DIAGONAL, BiniOptions

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
        self.z, self.weights = blocks.zeros(), [blocks.zeros() for _ in range(2)]
        for weight in self.weights:
            weight[:] = 0.5
        self.edges, self.sums = (
            [[blocks.zeros() for _ in range(3)] for _ in range(2)],
            [blocks.zeros() for _ in range(3)],
        )
        self.vectors = tuple(blocks.zeros(kind) for _ in range(4))
        self.matrix = tuple(blocks.zeros(kind) for _ in range(4))

    def reweigh(self, z: Float[Tensor, "n"]) -> float:
        """Set all bilateral weights for the unknowns ``z``; return the energy."""
        self.blocks.pack(z.numpy(), self.z)
        energy = 0.0
        for axis, neighbours, weight in zip(self.axes, self.neighbours, self.weights, strict=True):
            energy += kernels.weights_along(self.z, *axis, self.first, *neighbours, self.options.k, weight)
        return energy

    def solve(self, z: Float[Tensor, "n"], on_iterations: Callable[[], None]) -> tuple[Float[Tensor, "n"], int]:
        """Solve the linear system of the weights from ``z``; return the answer and the iterations.

        The system is set up in float64 around ``z`` and solved for the correction alone, so that float32 limits what
        a round can change, not how well the depth is known.
        """
        self.blocks.pack(z.numpy(), self.z)
        goal = self._linearize()
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
        self.z += x
        return torch.from_numpy(self.blocks.unpacked(self.z, z.numel())), used

    def _linearize(self) -> float:
        """Set matrix and residual at the packed depth; return the goal, a squared residual."""
        first, (left, right_of), (above, below) = self.first, *self.neighbours
        for axis, ahead, weight, edges in zip(self.axes, (right_of, below), self.weights, self.edges, strict=True):
            kernels.edges_along(self.z, *axis, first, ahead, weight, *edges)
        for along_x, along_y, sign, into in zip(*self.edges, (1.0, -1.0, -1.0), self.sums, strict=True):
            kernels.gather(along_x, along_y, first, left, above, sign, into)
        diagonal, right, residual = self.sums
        goal = self.options.cg_tolerance**2 * (right @ right)
        c, d, scale, drawn = self.matrix
        if self.stencil.has_prior:
            pull = self.prior_weight * np.median(diagonal[self.inside])
            drawn[:] = pull
            diagonal += pull
            residual += pull * (self.prior - self.z)
            right += pull * self.prior
        # Measured against the normals' side alone: a heavy prior would otherwise hide what it should not decide.
        goal = max(goal, ROUNDING**2 * (right @ right))
        c[:], d[:] = self.edges[0][0], self.edges[1][0]
        np.divide(1.0, np.maximum(diagonal, SMALLEST_DIAGONAL, out=diagonal), out=diagonal)
        scale[:] = diagonal
        for each in self.vectors:
            each[:] = 0.0
        self.vectors[1][:] = residual
        return goal
