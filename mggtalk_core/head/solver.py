"""Small quadratic problems with bounds."""

from __future__ import annotations

import numpy as np

PATIENCE = 3
ROUNDS = 100


def bounded_step(hessian: np.ndarray, gradient: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Minimise ``s'Hs / 2 + g's`` over ``lower <= s <= upper``.

    Block principal pivoting (Kim and Park 2011): solve for the free variables, then hold all that left their bounds and
    free all that are held against the slope; when that makes no progress, change one at a time, which must end.
    ``hessian`` must be positive definite.
    """
    side = np.zeros(len(gradient), dtype=np.int8)  # -1 held at the lower bound, 1 at the upper one, 0 free
    fewest, patience = len(gradient) + 1, PATIENCE
    for _ in range(ROUNDS):
        step = _solve_free(hessian, gradient, np.where(side < 0, lower, upper), side == 0)
        slope = hessian @ step + gradient
        wanted = np.where(side == 0, np.sign(np.where(step < lower, -1, 0) + np.where(step > upper, 1, 0)), side)
        wanted = np.where((side < 0) & (slope < 0) | (side > 0) & (slope > 0), 0, wanted)
        wrong = np.flatnonzero(wanted != side)
        if len(wrong) == 0:
            break
        if len(wrong) < fewest:
            fewest, patience = len(wrong), PATIENCE
        elif patience > 0:
            patience -= 1
        else:
            wrong = wrong[-1:]
        side[wrong] = wanted[wrong]
    return np.clip(step, lower, upper)


def _solve_free(hessian: np.ndarray, gradient: np.ndarray, bound: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return the minimum over the free variables with the others at their bounds."""
    step = np.where(free, 0.0, bound)
    pull = gradient + hessian[:, ~free] @ step[~free]
    step[free] = np.linalg.solve(hessian[np.ix_(free, free)], -pull[free])
    return step
