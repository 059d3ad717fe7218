"""Bilateral normal integration: from a normal map to the depth whose jumps it does not know (Cao et al., ECCV 2022).

Every pixel has two equations per axis, one towards each neighbour, and a weight that says which of the two sides is the
continuous one. The weights depend on the depth and the depth on the weights, so they take turns (IRLS). Each turn's
linear system is solved by conjugate gradients, preconditioned by the diagonal, on a five-point stencil: compiled loops
on the CPU, tensor operations on other devices. `bini_reference` does the same with a sparse matrix.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..progress import OnStep, ignore_steps
from .bini_stencil import Intrinsics, Stencil, with_normals
from .bini_types import DEFAULTS, BiniOptions, Integration

__all__ = ["DEFAULTS", "BiniOptions", "Integration", "integrate_normals"]


class Solver(Protocol):
    """One round of the integration, on some device."""

    def reweigh(self, z: Float[Tensor, "n"]) -> float:
        """Set all bilateral weights for the unknowns ``z``; return the energy."""

    def solve(self, z: Float[Tensor, "n"], on_iterations: Callable[[], None]) -> tuple[Float[Tensor, "n"], int]:
        """Solve the linear system of the weights from ``z``; return the answer and the iterations."""


def integrate_normals(
    normals: Float[Tensor, "3 height width"],
    mask: Bool[Tensor, "height width"],
    *,
    intrinsics: Intrinsics | None = None,
    prior: Float[Tensor, "height width"] | None = None,
    prior_weight: float | Float[Tensor, "height width"] = 1e-5,
    start: Float[Tensor, "height width"] | None = None,
    options: BiniOptions = DEFAULTS,
    on_step: OnStep = ignore_steps,
) -> Integration:
    """Integrate a normal map into depth, keeping discontinuities (arXiv 2208.14218, eq. 17-22).

    Args:
        normals: camera axes (x right, y down, z forward), so nz < 0 faces the viewer; NaN where unknown. The work is
            done on their device.
        mask: pixels to solve; any shape, any number of 4-connected components.
        intrinsics: focal x, focal y, principal x and y in pixels (pixel centres at +0.5); None is orthographic.
        prior: depth that the answer is drawn to, NaN where unknown. A component without one is anchored at the prior's
            mean, or at depth 0 (orthographic) or 1 (perspective, where the scale is free). One that knows every pixel
            and agrees with the normals already is the answer.
        prior_weight: ``lambda``, in units of the median diagonal of the normals' system; one number or a map.
        start: depth from which the first round starts; it also sets the first weights.
        options: solver settings.
        on_step: rounds done, most rounds; called inside the rounds too.

    Raises:
        InputError: the normals point away from the viewer.

    """
    begin = time.perf_counter()
    mask = with_normals(mask.to(normals.device), normals)
    if not mask.any():
        return Integration(torch.full_like(normals[0], torch.nan, dtype=torch.float64), mask)
    stencil = Stencil.build(normals, mask, intrinsics, prior, prior_weight)
    if stencil.agrees(options.agreement, options.k):
        z, energy, iterations, agreed = stencil.prior, [], 0, True
    else:
        first = None if start is None else stencil.unknowns(start)
        z, energy, iterations = _rounds(stencil, _solver(stencil, options), first, options, on_step)
        agreed = False
    on_step(options.max_rounds, options.max_rounds)
    return Integration(stencil.depth(z, mask), mask, energy, iterations, time.perf_counter() - begin, agreed)


def _solver(stencil: Stencil, options: BiniOptions) -> Solver:
    if stencil.prior.device.type == "cpu":
        from .bini_cpu import CompiledSolver

        return CompiledSolver(stencil, options)
    from .bini_torch import TensorSolver

    return TensorSolver(stencil, options)


def _rounds(
    stencil: Stencil, solver: Solver, start: Float[Tensor, "n"] | None, options: BiniOptions, on_step: OnStep
) -> tuple[Float[Tensor, "n"], list[float], int]:
    """Alternate between weights and depth until the energy rests; return unknowns, energies and iterations."""
    z = torch.zeros_like(stencil.prior) if start is None else start
    if start is not None:
        solver.reweigh(z)
    before = float((stencil.target_x.square() + stencil.target_y.square()).sum())  # energy of the flat start
    energy: list[float] = []
    iterations = 0
    for number in range(options.max_rounds):
        tick = functools.partial(on_step, number, options.max_rounds)
        # Without a prior a round neither sees nor moves the components' means.
        z, used = solver.solve(stencil.anchored(z) if stencil.has_prior else z, tick)
        energy.append(solver.reweigh(z))
        iterations += used
        if abs(energy[-1] - before) <= options.tolerance * before:
            break
        before = energy[-1]
    return stencil.anchored(z), energy, iterations
