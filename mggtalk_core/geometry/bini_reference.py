"""The plain twin of `bini`: the same rounds and tolerances on a sparse matrix, for tests and for measuring speed."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..progress import OnStep, ignore_steps
from .bini_system import BilateralSystem
from .bini_types import DEFAULTS, ROUNDING, SMALLEST_DIAGONAL, BiniOptions, Integration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ITERATION_WORK = 5_000_000
"""Pixels times iterations between two calls of ``on_step``: about a tenth of a second."""


def integrate_reference(
    normals: Float[Tensor, "3 height width"],
    mask: Bool[Tensor, "height width"],
    *,
    intrinsics: tuple[float, float, float, float] | None = None,
    prior: Float[Tensor, "height width"] | None = None,
    prior_weight: float | Float[Tensor, "height width"] = 1e-5,
    start: Float[Tensor, "height width"] | None = None,
    options: BiniOptions = DEFAULTS,
    on_step: OnStep = ignore_steps,
) -> Integration:
    """Do what `bini.integrate_normals` does, in float64 and without asking whether the prior agrees already."""
    begin = time.perf_counter()
    usable = mask & torch.isfinite(normals).all(0)
    if not usable.any():
        return Integration(torch.full(mask.shape, torch.nan, dtype=torch.float64), usable)
    system = BilateralSystem.build(_array(normals), usable.cpu().numpy(), intrinsics)
    system.set_prior(_optional(prior), _array(prior_weight) if isinstance(prior_weight, Tensor) else prior_weight)
    z, energy, iterations = _solve(system, _optional(start), options, on_step)
    depth = np.full(mask.shape, np.nan)
    depth[system.inside] = np.exp(z) if system.perspective else z
    return Integration(torch.from_numpy(depth), usable, energy, iterations, time.perf_counter() - begin)


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(np.float64)


def _optional(tensor: Tensor | None) -> Array | None:
    return None if tensor is None else _array(tensor)


def _solve(
    system: BilateralSystem, start: Array | None, options: BiniOptions, on_step: OnStep
) -> tuple[Array, list[float], int]:
    z = np.zeros(len(system.prior))
    if start is not None:
        z = np.nan_to_num(system.values(start), nan=system.anchor)
        system.reweigh(z, options.k)
    before = sum(float(np.sum(axis.target**2)) for axis in system.axes)  # energy of the flat start
    energy: list[float] = []
    iterations = 0
    for number in range(options.max_rounds):
        tick = functools.partial(on_step, number, options.max_rounds)
        z, used = _conjugate_gradient(system, system.anchored(z), options, tick)
        energy.append(system.reweigh(z, options.k))
        iterations += used
        if abs(energy[-1] - before) <= options.tolerance * before:
            break
        before = energy[-1]
    on_step(options.max_rounds, options.max_rounds)
    return system.anchored(z), energy, iterations


def _conjugate_gradient(
    system: BilateralSystem, z: Array, options: BiniOptions, on_iterations: Callable[[], None]
) -> tuple[Array, int]:
    """Solve one round's linear system from ``z``, preconditioned by its diagonal."""
    matrix, diagonal, right, pull = system.assemble()
    scale = 1.0 / np.maximum(diagonal, SMALLEST_DIAGONAL)
    every = max(1, ITERATION_WORK // len(z))
    # Measured against the normals' side alone: a heavy prior would otherwise hide what it should not decide.
    goal = max(options.cg_tolerance * np.linalg.norm(right), ROUNDING * np.linalg.norm(right + pull))
    residual = right + pull - matrix @ z
    direction = scale * residual
    power = float(residual @ direction)
    for iteration in range(options.cg_iterations):
        if np.linalg.norm(residual) <= goal:
            return z, iteration
        if iteration % every == 0:
            on_iterations()
        image = matrix @ direction
        step = power / float(direction @ image)
        z = z + step * direction
        residual = residual - step * image
        scaled = scale * residual
        previous, power = power, float(residual @ scaled)
        direction = scaled + (power / previous) * direction
    return z, options.cg_iterations
