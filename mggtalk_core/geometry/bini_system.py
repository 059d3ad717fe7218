"""The equations of bilateral normal integration, and the sparse matrix they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    Array = NDArray[np.float64]

EXPONENT_LIMIT = 700.0
"""exp() of more than this overflows float64; the sigmoid is long saturated there."""


@dataclass
class Axis:
    """The equations along one image axis; pixel ``first[e]`` comes just before ``second[e]``."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    slope: Array
    """Per pixel: factor of the derivative (nz, or n . ray in perspective)."""
    target: Array
    """Per pixel: what slope times derivative should be (-nx or -ny)."""
    forward_weight: Array
    """Per pixel: weight of the equation towards the next pixel; the one before has the rest."""

    def one_sided(self, z: Array) -> tuple[Array, Array]:
        """Return slope times the forward and backward difference of every pixel, 0 where the neighbour is missing."""
        step = z[self.second] - z[self.first]
        forward, backward = np.zeros_like(z), np.zeros_like(z)
        forward[self.first] = self.slope[self.first] * step
        backward[self.second] = self.slope[self.second] * step
        return forward, backward

    def reweigh(self, z: Array, k: float) -> float:
        """Set the weights for depth ``z`` (eq. 22) and return this axis' energy."""
        forward, backward = self.one_sided(z)
        exponent = np.clip(k * (backward**2 - forward**2), -EXPONENT_LIMIT, EXPONENT_LIMIT)
        w = self.forward_weight = 1.0 / (1.0 + np.exp(-exponent))
        return float(np.sum(w * (forward - self.target) ** 2 + (1 - w) * (backward - self.target) ** 2))

    def edges(self) -> tuple[Array, Array]:
        """Return the conductance of every edge and its flow, the weighted step that the normals ask for."""
        i, j, s, w = self.first, self.second, self.slope, self.forward_weight
        before, after = w[i] * s[i], (1 - w[j]) * s[j]
        return before * s[i] + after * s[j], before * self.target[i] + after * self.target[j]


@dataclass
class BilateralSystem:
    """The weighted least-squares problem over the pixels of the mask: a graph Laplacian plus the prior's diagonal."""

    inside: NDArray[np.bool_]
    axes: list[Axis]
    perspective: bool
    matrix: csr_matrix
    order: NDArray[np.int64]
    """For every stored number of the matrix, its place in [diagonal, edges, edges]: the pattern never changes."""
    component: NDArray[np.int64]
    prior: Array
    prior_weight: Array
    """In units of the median diagonal; 0 where there is no prior."""
    anchor: float = 0.0
    """Mean depth of the components that no prior reaches."""

    @classmethod
    def build(
        cls, normals: Array, inside: NDArray[np.bool_], intrinsics: tuple[float, float, float, float] | None
    ) -> BilateralSystem:
        """Lay out the equations of the pixels ``inside``."""
        index = np.cumsum(inside.ravel()).reshape(inside.shape) - 1
        count = int(inside.sum())
        across, down = inside[:, :-1] & inside[:, 1:], inside[:-1] & inside[1:]
        slope_x, slope_y = _slopes(normals[:, inside], inside, intrinsics)
        half = np.full(count, 0.5)
        axes = [
            Axis(index[:, :-1][across], index[:, 1:][across], slope_x, -normals[0][inside], half),
            Axis(index[:-1][down], index[1:][down], slope_y, -normals[1][inside], half),
        ]
        matrix, order, component = _pattern(axes, count)
        return cls(inside, axes, intrinsics is not None, matrix, order, component, np.zeros(count), np.zeros(count))

    def values(self, depth: Array) -> Array:
        """Return the unknowns for a depth map: depth itself, or its logarithm in perspective."""
        inside = depth[self.inside]
        if self.perspective:
            return np.log(np.where(inside > 0, inside, np.nan))
        return inside

    def set_prior(self, prior: Array | None, weight: float | Array) -> None:
        """Take the depth prior; unusable numbers have no weight."""
        if prior is None:
            return
        values = self.values(prior)
        known = np.isfinite(values)
        self.prior = np.where(known, values, 0.0)
        self.prior_weight = known * (weight[self.inside] if isinstance(weight, np.ndarray) else weight)
        self.anchor = float(values[known].mean()) if known.any() else 0.0

    def assemble(self) -> tuple[csr_matrix, Array, Array, Array]:
        """Return the matrix, its diagonal, and the right sides of the normals and of the prior."""
        diagonal, right = np.zeros(len(self.prior)), np.zeros(len(self.prior))
        conductances = []
        for axis in self.axes:
            conductance, flow = axis.edges()
            np.add.at(diagonal, axis.first, conductance)
            np.add.at(diagonal, axis.second, conductance)
            np.add.at(right, axis.first, -flow)
            np.add.at(right, axis.second, flow)
            conductances.append(-conductance)
        pull = self.prior_weight * np.median(diagonal)
        entries = np.concatenate((diagonal + pull, *conductances, *conductances))
        self.matrix.data = entries[self.order]
        return self.matrix, diagonal + pull, right, pull * self.prior

    def reweigh(self, z: Array, k: float) -> float:
        """Set all bilateral weights for depth ``z``; return the energy."""
        return sum(axis.reweigh(z, k) for axis in self.axes)

    def anchored(self, z: Array) -> Array:
        """Shift every component so that its mean is the prior's, or the anchor where it has no prior."""
        weight = np.bincount(self.component, self.prior_weight)
        free = weight == 0
        pull = np.where(free[self.component], 1.0, self.prior_weight)
        target = np.where(free[self.component], self.anchor, self.prior)
        shift = np.bincount(self.component, pull * (target - z)) / np.bincount(self.component, pull)
        return z + shift[self.component]


def _slopes(
    normals: Array, inside: NDArray[np.bool_], intrinsics: tuple[float, float, float, float] | None
) -> tuple[Array, Array]:
    """Return the factor of the derivative along x and along y, per pixel (eq. 6 and 10 of the paper)."""
    nx, ny, nz = normals
    if intrinsics is None:
        slopes = nz, nz
    else:
        focal_x, focal_y, center_x, center_y = intrinsics
        rows, columns = np.nonzero(inside)
        # One lateral term for both axes, as published: exact when the two focal lengths agree.
        lateral = (columns + 0.5 - center_x) * nx + (rows + 0.5 - center_y) * ny
        slopes = lateral + focal_x * nz, lateral + focal_y * nz
    if np.mean(slopes[0] > 0) > 0.5:
        raise InputError("The normals point away from the viewer: flip their sign (nz < 0 faces the camera).")
    return slopes


def _pattern(axes: list[Axis], count: int) -> tuple[csr_matrix, NDArray[np.int64], NDArray[np.int64]]:
    """Return the empty matrix, where its numbers come from, and the connected component of every pixel."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first = np.concatenate([axis.first for axis in axes])
    second = np.concatenate([axis.second for axis in axes])
    rows = np.concatenate((np.arange(count), first, second))
    columns = np.concatenate((np.arange(count), second, first))
    # SciPy sorts the entries' numbers (from 1: it may drop zeros) once; each round only permutes new values.
    number = np.arange(1, len(rows) + 1, dtype=np.float64)
    matrix = coo_matrix((number, (rows, columns)), shape=(count, count)).tocsr()
    component = connected_components(matrix, directed=False)[1]
    return matrix, matrix.data.astype(np.int64) - 1, component
