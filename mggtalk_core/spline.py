"""Smooth values between scattered points: the spline of kernel -r beside an affine map.

With constants and slopes taken out, the kernel -r is positive definite in any dimension (Micchelli 1986): the equations
have one solution wherever the points do not all lie on one line (in one plane).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def solve_spline(
    distances: Float[np.ndarray, "n n"],
    affine: Float[np.ndarray, "n a"],
    values: Float[np.ndarray, "n k"],
    stiffness: float,
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "a k"]]:
    """Return the weights of the spline's points and of its affine map.

    At a point whose distances from the ``n`` points are ``d`` and whose affine terms are ``a``, the spline is
    ``a @ slopes + d @ weights``.

    Args:
        distances: Between the points, in any unit.
        affine: The terms of the affine map at the points: 1 and coordinates, of any origin and unit.
        values: What the spline is to be at the points.
        stiffness: How far the values may be missed for a flatter result, in the unit of ``distances``; 0 meets them.
    """
    count, terms = affine.shape
    equations = np.zeros((count + terms, count + terms))
    equations[:count, :count] = distances - stiffness * np.eye(count)
    equations[:count, count:] = affine
    equations[count:, :count] = affine.T
    solution = np.linalg.solve(equations, np.concatenate((values, np.zeros((terms, values.shape[1])))))
    return solution[:count], solution[count:]
