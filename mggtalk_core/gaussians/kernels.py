"""Compiled loops over the Gaussians of a frame; imported with the first frame, because numba takes a second to load.

Arrays are those of `Tangents`, `Aperture` and `Grazing` as numpy sees them: float32 and int64, contiguous. The plain
twins are in the modules of these classes and in `frames`; one result of theirs takes a dozen passes over memory.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernel_cache import compiled

LANES = 16
"""Gaussians whose shape is found side by side: one vector."""

F, U = np.float32, np.uint64  # an unsigned index is not asked whether it counts from the end
_AX, _AY, _AZ, _BX, _BY, _BZ, _MAJOR, _MINOR, _QW, _QX, _QY, _QZ = (U(LANES * k) for k in range(12))
_HALF, _ONE, _ZERO, _TINY = F(0.5), F(1.0), F(0.0), F(1e-9)
_FAST = {"contract", "nsz"}


@compiled(fastmath=_FAST)
def _length(x, y, z):  # noqa: ANN001, ANN202 - numba infers the types
    return math.sqrt(x * x + y * y + z * z)


@compiled(fastmath=_FAST)
def _principal(v):  # noqa: ANN001, ANN202
    """Turn 16 pairs of spacing vectors a, b into the unit principal axes of ``a a^T + b b^T``, and take their extents.

    The angle is half of atan2(2 ab, aa - bb), by half-angle formulas that do not cancel.
    """
    for lane in range(LANES):
        i = U(lane)
        ax, ay, az, bx, by, bz = v[_AX + i], v[_AY + i], v[_AZ + i], v[_BX + i], v[_BY + i], v[_BZ + i]
        aa, ab, bb = ax * ax + ay * ay + az * az, ax * bx + ay * by + az * bz, bx * bx + by * by + bz * bz
        double = math.sqrt((aa - bb) * (aa - bb) + F(4) * ab * ab)
        is_round, along = double == _ZERO, aa >= bb
        large = math.sqrt(_HALF + _HALF * (_ONE if is_round else abs(aa - bb) / double))
        small = _ZERO if is_round else ab / (double * large)
        cos, sin = large if along else abs(small), small if along else math.copysign(large, ab)
        ux, uy, uz = cos * ax + sin * bx, cos * ay + sin * by, cos * az + sin * bz
        vx, vy, vz = cos * bx - sin * ax, cos * by - sin * ay, cos * bz - sin * az
        major, minor = _length(ux, uy, uz), _length(vx, vy, vz)
        p, q = _ONE / max(major, _TINY), _ONE / max(minor, _TINY)
        v[_AX + i], v[_AY + i], v[_AZ + i], v[_MAJOR + i] = p * ux, p * uy, p * uz, major
        v[_BX + i], v[_BY + i], v[_BZ + i], v[_MINOR + i] = q * vx, q * vy, q * vz, minor


@compiled(fastmath=_FAST)
def _turn(v):  # noqa: ANN001, ANN202
    """Find the unit quaternions of 16 rotations from their first two columns; see `quaternion_of`."""
    for lane in range(LANES):
        i = U(lane)
        xx, xy, xz, yx, yy, yz = v[_AX + i], v[_AY + i], v[_AZ + i], v[_BX + i], v[_BY + i], v[_BZ + i]
        zx, zy, zz = xy * yz - xz * yy, xz * yx - xx * yz, xx * yy - xy * yx
        ww, ii, jj, kk = _ONE + xx + yy + zz, _ONE + xx - yy - zz, _ONE - xx + yy - zz, _ONE - xx - yy + zz
        largest = max(max(ww, ii), max(jj, kk))
        by_w, by_i, by_j = ww == largest, ii == largest, jj == largest
        wi, wj, wk, ij, ik, jk = yz - zy, zx - xz, xy - yx, xy + yx, zx + xz, yz + zy
        w = ww if by_w else wi if by_i else wj if by_j else wk
        x = wi if by_w else ii if by_i else ij if by_j else ik
        y = wj if by_w else ij if by_i else jj if by_j else jk
        z = wk if by_w else ik if by_i else jk if by_j else kk
        scale = _ONE / math.sqrt(w * w + x * x + y * y + z * z)
        v[_QW + i], v[_QX + i], v[_QY + i], v[_QZ + i] = w * scale, x * scale, y * scale, z * scale


@compiled(fastmath=_FAST)
def ellipses(along_x, along_y, thickness, quats, scales):  # noqa: ANN001, ANN201
    """Write quaternions [N,4] and scales [N,3] of Gaussians between spacing vectors [N,3]; see `ellipse_frames`."""
    v = np.zeros(12 * LANES, np.float32)
    for start in range(0, len(along_x), LANES):
        count = min(LANES, len(along_x) - start)
        for lane in range(count):
            i, j = U(start + lane), U(lane)
            for k in range(3):
                v[_AX + U(LANES * k) + j], v[_BX + U(LANES * k) + j] = along_x[i, U(k)], along_y[i, U(k)]
        _principal(v)
        _turn(v)
        for lane in range(count):
            i, j = U(start + lane), U(lane)
            for k in range(4):
                quats[i, U(k)] = v[_QW + U(LANES * k) + j]
            minor = v[_MINOR + j]
            scales[i, U(0)], scales[i, U(1)], scales[i, U(2)] = v[_MAJOR + j], minor, thickness * minor


@compiled(fastmath=_FAST)
def tangents(positions, rows, weights, fallback, longest, along, whole):  # noqa: ANN001, ANN201
    """Write the spacing vectors [2,F,3] of visible points, and the share of them that is left [F]; see `Tangents`."""
    for i in range(len(whole)):
        whole[i] = _ONE
        for axis in range(2):
            a, b, rest = positions[rows[axis, i, 0]], positions[rows[axis, i, 1]], fallback[axis, i]
            p, q, spacing = weights[axis, i, 0], weights[axis, i, 1], along[axis, i]
            x, y, z = p * a[0] + q * b[0] + rest[0], p * a[1] + q * b[1] + rest[1], p * a[2] + q * b[2] + rest[2]
            room = min(longest[axis, i] / max(_length(x, y, z), _TINY), _ONE)
            spacing[0], spacing[1], spacing[2] = room * x, room * y, room * z
            whole[i] = min(whole[i], room)


@compiled(fastmath=_FAST)
def _place(x, knots):  # noqa: ANN001, ANN202
    """Return the first inner knot that is not less than ``x``, or the last knot."""
    low, high = 1, len(knots) - 1
    while low < high:
        middle = (low + high) // 2
        if knots[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


@compiled(fastmath=_FAST)
def _read(x, knots, values, place):  # noqa: ANN001, ANN202
    """Interpolate between the knot before ``place`` and the one there; constant beyond the ends."""
    low = knots[place - 1]
    t = min(max((x - low) / max(knots[place] - low, _TINY), _ZERO), _ONE)
    return values[place - 1] + t * (values[place] - values[place - 1])


@compiled(fastmath=_FAST)
def show_through(upper, lower, ends, numbers, points, out):  # noqa: ANN001, ANN201
    """Write what an opening shows of points [K,3]; see `Aperture`.

    ``upper`` and ``lower`` [3,M] are its contours: x, which does not fall, then y and z; ``ends`` the smallest and the
    largest x; ``numbers`` are margin, slope and softness.
    """
    margin, slope, softness = numbers
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        above, below = _place(x, upper[0]), _place(x, lower[0])
        top, bottom = _read(x, upper[0], upper[1], above), _read(x, lower[0], lower[1], below)
        opened = min(max((top - bottom) / softness, _ZERO), _ONE)
        behind = _HALF * (_read(x, upper[0], upper[2], above) + _read(x, lower[0], lower[2], below))
        inside = min(min(top - y, y - bottom), min(x - ends[0], ends[1] - x))
        reach = inside + (margin + slope * max(behind - z, _ZERO))
        out[i] = min(max(reach / softness, _ZERO), _ONE) * opened


@compiled(fastmath=_FAST)
def _turned(matrix, x, y, z):  # noqa: ANN001, ANN202
    return (
        x * matrix[0, 0] + y * matrix[1, 0] + z * matrix[2, 0],
        x * matrix[0, 1] + y * matrix[1, 1] + z * matrix[2, 1],
        x * matrix[0, 2] + y * matrix[1, 2] + z * matrix[2, 2],
    )


@compiled(fastmath=_FAST)
def _seen_gap(positions, here, there, sight):  # noqa: ANN001, ANN202
    """Return how long the way between two points looks from the direction ``sight``."""
    a, b = positions[there], positions[here]
    x, y, z = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    along = x * sight[0] + y * sight[1] + z * sight[2]
    return _length(x - along * sight[0], y - along * sight[1], z - along * sight[2])


@compiled(fastmath=_FAST)
def fade(points, origin, rows, neighbours, steps, mirror, eye, streak, positions, factor):  # noqa: ANN001, ANN201
    """Multiply the ``factor`` of some ``points`` by what a turn leaves of them; see `Grazing`.

    ``origin`` says for each of them which column of ``rows`` [K] and ``neighbours`` [A,2,K], ``steps`` [A] pixels away,
    it has its gaps from, and ``mirror`` [3,3] leads from the points' directions to those of the gaps; ``eye`` is the
    camera's place, ``streak`` [K] the distance from which points fade, and over which.
    """
    for i in range(len(points)):
        k, point = origin[i], points[i]
        x, y, z = eye[0] - positions[point, 0], eye[1] - positions[point, 1], eye[2] - positions[point, 2]
        scale = _ONE / max(_length(x, y, z), _TINY)
        sight, farthest = _turned(mirror, scale * x, scale * y, scale * z), _ZERO
        for axis in range(len(steps)):
            before = _seen_gap(positions, rows[k], neighbours[axis, 0, k], sight)
            behind = _seen_gap(positions, rows[k], neighbours[axis, 1, k], sight)
            both = (before > _ZERO) & (behind > _ZERO)
            farthest = max(farthest, (min(before, behind) if both else max(before, behind)) / steps[axis])
        t = min(max(farthest / streak[k] - _ONE, _ZERO), _ONE)
        factor[point] *= _ONE - t * t * (F(3) - F(2) * t)
