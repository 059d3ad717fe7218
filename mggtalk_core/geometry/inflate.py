"""Inflation: a plausible depth for what the head model does not have (hair, ears, hats, a wide neck) from the matte.

On a sphere of any radius the squared height over the plane of its outline has the Laplacian -4. So Poisson's equation
for the squared height, with the outline at zero and the known surface as boundary values, rounds hair off like a ball
at the outline and joins the face without a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix

CELL = 4
"""Edge in pixels of a cell of the grid that the equation is solved on: inflation is smooth."""
SPHERE_LAPLACIAN = -4.0
SOFTENING = 0.15
"""Heights are counted from this far under the outline's plane (units of 10 cm): a true sphere ends in a vertical wall,
which pixels cannot sample."""
OBSTACLE_ROUNDS = 2
"""Solutions in turn: what rests on the floor in the first carries the second. A third changes little."""
OUTLINE = 2
"""Layer of the outline's cells; 0 is the head's surface, 1 the one behind it."""
SEAM = 0.05
"""How much two surfaces feel each other where they touch: little, but a patch that touches nothing else needs it."""
BORDER_PULL = 1e-6
"""Weight that keeps cells solvable that touch neither outline nor known surface."""


def inflate(
    outline: Bool[Tensor, "height width"],
    known: Bool[Tensor, "height width"],
    height: Float[Tensor, "height width"],
    pixel: float,
    floor: Float[Tensor, "height width"],
    behind: Bool[Tensor, "height width"],
) -> Float[Tensor, "height width"]:
    """Return heights towards the viewer over the plane of the outline for every pixel.

    Args:
        outline: pixels outside the head that it is seen against; the height there is 0. Where the mask ends without an
            outline (the neck, the picture's border) the surface goes on as it likes.
        known: pixels whose height is given.
        height: the given heights, in units of 10 cm; what lies behind the plane counts as on it.
        pixel: edge of a pixel in units of 10 cm at the plane's depth.
        floor: heights that the surface must not sink below where it is not known.
        behind: pixels of a second surface (the neck), which does not join the first where they touch in the picture.

    """
    share_known = _cells(known.float())
    value = _cells((height.clamp(min=0.0) + SOFTENING) ** 2 * known) / share_known.clamp(min=1e-6)
    is_outline = (_cells(outline.float()) >= 0.5) & (share_known == 0)
    is_known = share_known >= 0.5
    fixed = torch.where(is_known, value, torch.full_like(value, SOFTENING**2))
    free = ~(is_known | is_outline)
    layer = torch.where(is_outline, OUTLINE, (_cells(behind.float()) >= 0.5).long())
    least = _cells((floor.clamp(min=0.0) + SOFTENING) ** 2)
    for _ in range(OBSTACLE_ROUNDS):
        solved = _poisson(free, fixed, layer, (CELL * pixel) ** 2)
        # Where the floor is higher the surface rests on it, and carries the rest of the surface with it.
        resting = free & (least > solved)
        fixed, free = torch.where(resting, least, fixed), free & ~resting
    full = interpolate(solved[None, None], size=known.shape, mode="bilinear")[0, 0]
    return torch.maximum(full.clamp(min=SOFTENING**2).sqrt() - SOFTENING, floor)


def _cells(values: Float[Tensor, "height width"]) -> Float[Tensor, "rows columns"]:
    return avg_pool2d(values[None], CELL)[0]


def _poisson(
    free: Bool[Tensor, "rows columns"],
    fixed: Float[Tensor, "rows columns"],
    layer: Int[Tensor, "rows columns"],
    cell_area: float,
) -> Float[Tensor, "rows columns"]:
    """Solve for the free cells: Laplacian -4, fixed cells as boundary values.

    Nothing flows through the picture's border, and little between two surfaces; the outline bounds both.
    """
    from scipy.sparse.linalg import spsolve

    if not free.any():
        return fixed
    unknown, known = free.cpu().numpy(), fixed.cpu().double().numpy()
    matrix, right = _equations(unknown, known, layer.cpu().numpy())
    known[unknown] = spsolve(matrix, right - SPHERE_LAPLACIAN * cell_area)
    return torch.from_numpy(known).to(fixed)


def _equations(unknown: np.ndarray, known: np.ndarray, layer: np.ndarray) -> tuple[csc_matrix, np.ndarray]:
    """Return the negative Laplacian of the unknown cells and the right side that the known cells give."""
    from scipy.sparse import coo_matrix

    count = int(unknown.sum())
    index = np.where(unknown, np.cumsum(unknown.ravel()).reshape(unknown.shape) - 1, -1)
    diagonal, right = np.full(count, BORDER_PULL), np.full(count, BORDER_PULL * SOFTENING**2)
    rows, columns, links = [np.arange(count)], [np.arange(count)], [diagonal]
    for here, there in _neighbours(unknown.shape):
        inner = index[here] >= 0
        of, to, value = index[here][inner], index[there][inner], known[there][inner]
        same = (layer[here] == layer[there]) | (layer[there] == OUTLINE)
        link = np.where(same[inner], 1.0, SEAM)
        np.add.at(diagonal, of, link)
        np.add.at(right, of[to < 0], (link * value)[to < 0])
        rows.append(of[to >= 0])
        columns.append(to[to >= 0])
        links.append(-link[to >= 0])
    places = np.concatenate(rows), np.concatenate(columns)
    return coo_matrix((np.concatenate(links), places), shape=(count, count)).tocsc(), right


def _neighbours(shape: tuple[int, ...]) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Return pairs of slices: every cell and its neighbour, in the four directions."""
    rows, columns = shape
    all_rows, all_columns = slice(0, rows), slice(0, columns)
    left, right = (all_rows, slice(0, columns - 1)), (all_rows, slice(1, columns))
    upper, lower = (slice(0, rows - 1), all_columns), (slice(1, rows), all_columns)
    return [(left, right), (right, left), (upper, lower), (lower, upper)]
