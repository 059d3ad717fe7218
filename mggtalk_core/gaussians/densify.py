"""Parent-child densification (paper eq. 6), analytic split."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

CHILD_SHRINK = 1.0 / math.sqrt(2.0)
"""Parents and children together form a lattice whose spacing is 1/sqrt(2) of the parents'."""


def child_offset(along_x: Float[Tensor, "n 3"], along_y: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Return where the child sits from its parent: the middle of the surface cell to the right and below."""
    return 0.5 * (along_x + along_y)
