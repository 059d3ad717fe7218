"""Inflation: a plausible depth for what the head model does not have (hair, ears, hats, a wide neck) from the matte.

On a sphere of any radius the squared height over the plane of its outline has the Laplacian -4. So Poisson's equation
for the squared height, with the outline at zero and the known surface as boundary values, rounds hair off like a ball
at the outline and joins the face without a step.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

CELL = 4
"""Edge in pixels of a cell of the grid that the equation is solved on: inflation is smooth."""
SPHERE_LAPLACIAN = -4.0
SOFTENING = 0.15
"""Heights are counted from this far under the outline's plane (units of 10 cm): a true sphere ends in a vertical wall,
which pixels cannot sample."""
OBSTACLE_ROUNDS = 2
"""Solutions in turn: what rests on the floor in the first carries the second. A third changes little."""
BORDER_PULL = 1e-6
"""Weight that keeps cells solvable that touch neither outline nor known surface."""


def inflate(
    outline: Bool[Tensor, "height width"],
    known: Bool[Tensor, "height width"],
    height: Float[Tensor, "height width"],
    pixel: float,
    floor: Float[Tensor, "height width"],
) -> Float[Tensor, "height width"]:
    """Return heights towards the viewer over the plane of the outline for every pixel.

    Args:
        outline: pixels outside the head that it is seen against; the height there is 0. Where the mask ends without an
            outline (the neck, the picture's border) the surface goes on as it likes.
        known: pixels whose height is given.
        height: the given heights, in units of 10 cm; what lies behind the plane counts as on it.
        pixel: edge of a pixel in units of 10 cm at the plane's depth.
        floor: heights that the surface must not sink below where it is not known.

    """
    share_known = _cells(known.float())
    value = _cells((height.clamp(min=0.0) + SOFTENING) ** 2 * known) / share_known.clamp(min=1e-6)
    is_outline = (_cells(outline.float()) >= 0.5) & (share_known == 0)
    is_known = share_known >= 0.5
    fixed = torch.where(is_known, value, torch.full_like(value, SOFTENING**2))
    free = ~(is_known | is_outline)
    least = _cells((floor.clamp(min=0.0) + SOFTENING) ** 2)
    for _ in range(OBSTACLE_ROUNDS):
        solved = _poisson(free, fixed, (CELL * pixel) ** 2)
        # Where the floor is higher the surface rests on it, and carries the rest of the surface with it.
        resting = free & (least > solved)
        fixed, free = torch.where(resting, least, fixed), free & ~resting
    full = interpolate(solved[None, None], size=known.shape, mode="bilinear")[0, 0]
    return torch.maximum(full.clamp(min=SOFTENING**2).sqrt() - SOFTENING, floor)


def _cells(values: Float[Tensor, "height width"]) -> Float[Tensor, "rows columns"]:
    return avg_pool2d(values[None], CELL)[0]


def _poisson(
    free: Bool[Tensor, "rows columns"], fixed: Float[Tensor, "rows columns"], cell_area: float
) -> Float[Tensor, "rows columns"]:
    """Solve for the free cells: Laplacian -4; fixed cells are boundary values; no flux through the picture's border."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import spsolve

    count = int(free.sum())
    if count == 0:
        return fixed
    unknown, known = free.cpu().numpy(), fixed.cpu().double().numpy()
    index = np.where(unknown, np.cumsum(unknown.ravel()).reshape(unknown.shape) - 1, -1)
    diagonal = np.full(count, BORDER_PULL)
    right = np.full(count, -SPHERE_LAPLACIAN * cell_area + BORDER_PULL * SOFTENING**2)
    rows, columns = [], []
    for here, there in _neighbours(unknown.shape):
        of, to = index[here], index[there]
        np.add.at(diagonal, of[of >= 0], 1.0)
        edge = (of >= 0) & (to < 0)
        np.add.at(right, of[edge], known[there][edge])
        rows.append(of[(of >= 0) & (to >= 0)])
        columns.append(to[(of >= 0) & (to >= 0)])
    i, j = np.concatenate(rows), np.concatenate(columns)
    everyone = np.arange(count)
    values = np.concatenate((diagonal, -np.ones(len(i))))
    places = np.concatenate((everyone, i)), np.concatenate((everyone, j))
    known[unknown] = spsolve(coo_matrix((values, places), shape=(count, count)).tocsc(), right)
    return torch.from_numpy(known).to(fixed)


def _neighbours(shape: tuple[int, ...]) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Return pairs of slices: every cell and its neighbour, in the four directions."""
    rows, columns = shape
    all_rows, all_columns = slice(0, rows), slice(0, columns)
    left, right = (all_rows, slice(0, columns - 1)), (all_rows, slice(1, columns))
    upper, lower = (slice(0, rows - 1), all_columns), (slice(1, rows), all_columns)
    return [(left, right), (right, left), (upper, lower), (lower, upper)]
