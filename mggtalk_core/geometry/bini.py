"""Bilateral normal integration: from a normal map to the depth whose jumps it does not know (Cao et al., ECCV 2022).

Every pixel has two equations per axis, one towards each neighbour, and a weight that says which of the two sides is the
continuous one. The weights depend on the depth and the depth on the weights, so they take turns (IRLS).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..progress import OnStep, ignore_steps
from .bini_system import BilateralSystem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SMALLEST_DIAGONAL = 1e-5
"""Lower bound of the preconditioner, for pixels that no equation touches."""


@dataclass(frozen=True)
class BiniOptions:
    """Settings of the solver; the defaults are those of the paper and of its reference results."""

    k: float = 2.0
    """Sharpness of the bilateral weights: larger lets smaller steps become discontinuities."""
    tolerance: float = 1e-4
    """Stop when a round changes the energy by less than this share."""
    max_rounds: int = 150
    cg_tolerance: float = 1e-3
    """Residual of each round's linear system, as a share of the right side that comes from the normals."""
    cg_iterations: int = 5000


ROUNDING = 1e-10
"""A residual this small a share of the whole right side is as good as none."""
ITERATION_WORK = 5_000_000
"""Pixels times iterations between two calls of ``on_step``: about a tenth of a second."""
DEFAULTS = BiniOptions()


@dataclass(frozen=True)
class Integration:
    """What `integrate_normals` found."""

    depth: Float[Tensor, "height width"]
    """Float64 depth, NaN where there is none."""
    mask: Bool[Tensor, "height width"]
    """Pixels that were solved: the mask less those with unusable normals."""
    energy: list[float]
    """Bilateral energy after each round."""
    iterations: int
    """Conjugate gradient iterations in all rounds together."""


def integrate_normals(
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
    """Integrate a normal map into depth, keeping discontinuities (arXiv 2208.14218, eq. 17-22).

    Args:
        normals: camera axes (x right, y down, z forward), so nz < 0 faces the viewer; NaN where unknown.
        mask: pixels to solve; any shape, any number of 4-connected components.
        intrinsics: focal x, focal y, principal x and y in pixels (pixel centres at +0.5); None is orthographic.
        prior: depth that the answer is drawn to, NaN where unknown. A component without one is anchored at the prior's
            mean, or at depth 0 (orthographic) or 1 (perspective, where the scale is free).
        prior_weight: ``lambda``, in units of the median diagonal of the normals' system; one number or a map.
        start: depth from which the first round starts; it also sets the first weights.
        options: solver settings.
        on_step: rounds done, most rounds; called inside the rounds too.

    Raises:
        InputError: the normals point away from the viewer.

    """
    usable = mask & torch.isfinite(normals).all(0)
    if not usable.any():
        return Integration(torch.full(mask.shape, torch.nan, dtype=torch.float64), usable, [], 0)
    system = BilateralSystem.build(_array(normals), usable.cpu().numpy(), intrinsics)
    system.set_prior(_optional(prior), _array(prior_weight) if isinstance(prior_weight, Tensor) else prior_weight)
    z, energy, iterations = _solve(system, _optional(start), options, on_step)
    depth = np.full(mask.shape, np.nan)
    depth[system.inside] = np.exp(z) if system.perspective else z
    return Integration(torch.from_numpy(depth), usable, energy, iterations)


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
