"""What every solver of bilateral normal integration takes and returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

Precision = Literal["float64", "float32"]


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
    precision: Precision = "float64"
    """Numbers of the conjugate gradients. Depth, weights and the residual of every round are float64 with either."""
    agreement: float = 0.02
    """Normals and prior agree where nearly all slopes differ by less than this: the prior is the answer then. In units
    of the normal, so 0.02 is a degree; 0 always integrates."""


ROUNDING = 1e-10
"""A residual this small a share of the whole right side is as good as none."""
SMALLEST_DIAGONAL = 1e-5
"""Lower bound of the preconditioner, for pixels that no equation touches."""
DEFAULTS = BiniOptions()


@dataclass(frozen=True)
class Integration:
    """What was found by integrating normals."""

    depth: Float[Tensor, "height width"]
    """Float64 depth, NaN where there is none."""
    mask: Bool[Tensor, "height width"]
    """Pixels that were solved: the mask less those with unusable normals."""
    energy: list[float] = field(default_factory=list)
    """Bilateral energy after each round."""
    iterations: int = 0
    """Conjugate gradient iterations in all rounds together."""
    seconds: float = 0.0
    """Wall-clock time of the whole integration."""
    agreed: bool = False
    """The normals said nothing that the prior did not: the depth is the prior's."""
