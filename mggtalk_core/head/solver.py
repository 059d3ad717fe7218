"""Small quadratic problems with bounds."""

from __future__ import annotations

import numpy as np


def bounded_step(
    hessian: np.ndarray, gradient: np.ndarray, lower: np.ndarray, upper: np.ndarray, rounds: int = 8
) -> np.ndarray:
    """Minimise ``s'Hs / 2 + g's`` over ``lower <= s <= upper`` by an active-set method.

    Each round solves for the free variables, holds those that would leave their bounds, and frees held ones that the
    gradient pulls inside. ``hessian`` must be positive definite; the result is always within the bounds.
    """
    held = np.zeros(len(gradient), dtype=bool)
    step = np.zeros(len(gradient))
    for _ in range(rounds):
        free = ~held
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], -gradient[free] - hessian[np.ix_(free, held)] @ step[held])
        outside = free & ((step < lower) | (step > upper))
        step = np.clip(step, lower, upper)
        slope = hessian @ step + gradient
        inward = held & (((step <= lower) & (slope < 0)) | ((step >= upper) & (slope > 0)))
        if not outside.any() and not inward.any():
            break
        held = (held | outside) & ~inward
    return step
