"""Compiled mesh rasteriser; imported only when the first mesh is drawn, because numba takes a second to load."""

from __future__ import annotations

import numpy as np

from ..kernel_cache import compiled

_compile = compiled()


def _edge(corners: np.ndarray, a: int, b: int, x: float, y: float) -> float:
    """Twice the signed area of (a, b, pixel); both triangles of an edge compute the very same number."""
    flip = a > b
    if flip:
        a, b = b, a
    ax, ay = corners[a, 0], corners[a, 1]
    area = (corners[b, 0] - ax) * (y - ay) - (corners[b, 1] - ay) * (x - ax)
    return -area if flip else area


def _covers(value: float, dx: float, dy: float) -> bool:
    """Top-left rule: a pixel exactly on an edge belongs to one of its two triangles only."""
    return value > 0.0 or (value == 0.0 and (dy < 0.0 or (dy == 0.0 and dx > 0.0)))


_edge = _compile(_edge)
_covers = _compile(_covers)


def _fill(
    corners: np.ndarray, a: int, b: int, c: int, index: int,
    depth: np.ndarray, triangle: np.ndarray, barycentric: np.ndarray, swapped: bool,
) -> None:  # fmt: skip
    """Draw one triangle whose corners run clockwise on the screen (y down)."""
    height, width = depth.shape
    ax, ay, az = corners[a]
    bx, by, bz = corners[b]
    cx, cy, cz = corners[c]
    # The pixels whose centres lie in the triangle's box.
    x_first = int(max(np.ceil(min(ax, bx, cx) - 0.5), 0.0))
    x_last = int(min(np.floor(max(ax, bx, cx) - 0.5), width - 1.0))
    y_first = int(max(np.ceil(min(ay, by, cy) - 0.5), 0.0))
    y_last = int(min(np.floor(max(ay, by, cy) - 0.5), height - 1.0))
    for row in range(y_first, y_last + 1):
        for column in range(x_first, x_last + 1):
            x, y = column + 0.5, row + 0.5
            ea, eb, ec = _edge(corners, b, c, x, y), _edge(corners, c, a, x, y), _edge(corners, a, b, x, y)
            if not (_covers(ea, cx - bx, cy - by) and _covers(eb, ax - cx, ay - cy) and _covers(ec, bx - ax, by - ay)):
                continue
            wa, wb, wc = ea / az, eb / bz, ec / cz  # perspective: linear in 1/z on the screen
            total = wa + wb + wc
            z = (ea + eb + ec) / total
            if triangle[row, column] >= 0 and not z < depth[row, column]:
                continue
            depth[row, column] = z
            triangle[row, column] = index
            barycentric[0, row, column] = wa / total
            barycentric[1, row, column] = (wc if swapped else wb) / total
            barycentric[2, row, column] = (wb if swapped else wc) / total


_fill = _compile(_fill)


def _rasterize(
    corners: np.ndarray, triangles: np.ndarray, depth: np.ndarray, triangle: np.ndarray, barycentric: np.ndarray
) -> None:
    """Draw all triangles, nearest first kept; the lower index wins a tie."""
    for index in range(len(triangles)):
        a, b, c = triangles[index, 0], triangles[index, 1], triangles[index, 2]
        if min(corners[a, 2], corners[b, 2], corners[c, 2]) <= 0.0:
            continue
        area = _edge(corners, a, b, corners[c, 0], corners[c, 1])
        if area > 0.0:
            _fill(corners, a, b, c, index, depth, triangle, barycentric, False)
        elif area < 0.0:
            _fill(corners, a, c, b, index, depth, triangle, barycentric, True)


rasterize = _compile(_rasterize)
