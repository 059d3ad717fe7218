"""The stencil solver in tensor operations: for surfaces that live on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .bini_stencil import Stencil
from .bini_types import ROUNDING, SMALLEST_DIAGONAL, BiniOptions

CHECK = 8
"""Iterations between two looks whether it is there: each look makes the host wait for the device."""
EXPONENT_LIMIT = 700.0


class TensorSolver:
    """The same rounds as `bini_cpu.CompiledSolver`, on any device."""

    def __init__(self, stencil: Stencil, options: BiniOptions) -> None:
        """Start with all weights one half."""
        self.stencil, self.options = stencil, options
        self.dtype = torch.float32 if options.precision == "float32" else torch.float64
        self.weights = [torch.full_like(stencil.prior, 0.5) for _ in range(2)]

    def reweigh(self, z: Float[Tensor, "n"]) -> float:
        """Set all bilateral weights for the unknowns ``z``; return the energy."""
        energy = z.new_zeros(())
        for number, (slope, target, link, far) in enumerate(self.stencil.axes()):
            step = _forward(z, far) * link
            forward, backward = slope * step, slope * step.roll(far)
            exponent = self.options.k * (backward.square() - forward.square())
            w = self.weights[number] = torch.sigmoid(exponent.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT))
            energy += (w * (forward - target).square() + (1 - w) * (backward - target).square()).sum()
        return float(energy)

    def solve(self, z: Float[Tensor, "n"], on_iterations: Callable[[], None]) -> tuple[Float[Tensor, "n"], int]:
        """Solve the linear system of the weights from ``z``; return the answer and the iterations."""
        conductances, pull, scale, residual, goal = self._linearize(z)
        edges = [(each.to(self.dtype), far) for each, far in conductances]
        scale, pull = scale.to(self.dtype), pull.to(self.dtype)
        r = residual.to(self.dtype)
        x, p = torch.zeros_like(r), scale * r
        power, used = _dot(r, p), torch.zeros((), dtype=torch.int64, device=z.device)
        for iteration in range(self.options.cg_iterations):
            moving = _dot(r, r) > goal
            if iteration % CHECK == 0:
                on_iterations()
                if not moving:
                    break
            image = _image(p, edges, pull)
            # At the goal nothing moves until the next look: the surface depends on where a round stops.
            step = torch.where(moving, power / _dot(p, image), 0.0).nan_to_num(0.0, 0.0, 0.0)
            used += moving
            x.add_(p * step)
            r.sub_(image * step)
            scaled = scale * r
            before, power = power, _dot(r, scaled)
            p = scaled + p * (power / before).nan_to_num(0.0, 0.0, 0.0)
        return z + x.double(), int(used)

    def _linearize(
        self, z: Float[Tensor, "n"]
    ) -> tuple[list[tuple[Tensor, int]], Float[Tensor, "n"], Float[Tensor, "n"], Float[Tensor, "n"], Tensor]:
        """Return conductances, the prior's pull, the preconditioner, the residual at ``z`` and the squared goal."""
        diagonal, right, residual = (torch.zeros_like(z) for _ in range(3))
        conductances = []
        for (slope, target, link, far), w in zip(self.stencil.axes(), self.weights, strict=True):
            before, after = w * slope, (1 - w) * slope
            c = (before * slope + (after * slope).roll(-far)) * link
            flow = (before * target + (after * target).roll(-far)) * link
            rest = flow - c * _forward(z, far)
            diagonal += c + c.roll(far)
            right += flow.roll(far) - flow
            residual += rest.roll(far) - rest
            conductances.append((c, far))
        pull = self.stencil.prior_weight * _median(diagonal[self.stencil.order])
        drawn = right + pull * self.stencil.prior
        goal = torch.maximum(self.options.cg_tolerance**2 * _dot(right, right), ROUNDING**2 * _dot(drawn, drawn))
        scale = 1.0 / (diagonal + pull).clamp(min=SMALLEST_DIAGONAL)
        return conductances, pull, scale, residual + pull * (self.stencil.prior - z), goal


def _forward(values: Float[Tensor, "n"], far: int) -> Float[Tensor, "n"]:
    """Return the difference to the next cell; the border of empty cells makes the roll's ends harmless."""
    return values.roll(-far) - values


def _image(
    p: Float[Tensor, "n"], edges: list[tuple[Float[Tensor, "n"], int]], pull: Float[Tensor, "n"]
) -> Float[Tensor, "n"]:
    image = pull * p
    for conductance, far in edges:
        flow = conductance * _forward(p, far)
        image += flow.roll(far) - flow
    return image


def _dot(a: Float[Tensor, "n"], b: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    return (a * b).sum()


def _median(values: Float[Tensor, "m"]) -> Float[Tensor, ""]:
    """Return the median, the mean of the middle two if they are two; torch's own is the lower one."""
    return (values.median() - (-values).median()) / 2
