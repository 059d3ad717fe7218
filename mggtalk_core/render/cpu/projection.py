"""First pass: each Gaussian becomes a splat record (EWA projection), or is culled."""

from __future__ import annotations

import math

import numpy as np

from .. import splatting as rule
from .jit import kernel

RECORD = 16
"""Floats per record, one cache line: mean x y, conic (a/2, b, c/2), -ln opacity, r g b, depth, box x0 y0 x1 y1, -, -.

The box holds whole pixels, the end excluded; it is empty (x0 = x1) for a Gaussian that is not drawn.
"""

F = np.float32
U = np.uint64
_LOW_PASS, _NEAR, _REACH = F(rule.LOW_PASS), F(rule.NEAR_PLANE), F(-math.log(rule.MIN_ALPHA))
_MAX_EXTENT, _C0, _C1 = F(rule.MAX_EXTENT), F(rule.SH_C0), F(rule.SH_C1)
# NaN and Inf keep their meaning: they are looked for. By size: isfinite is x - x == 0, which reassociation makes true.
_FAST = {"contract", "arcp", "nsz", "reassoc"}
_HUGE = F(1e38)


@kernel(fastmath=_FAST)
def _finite(means, quats, scales, opacities, sh, i):  # noqa: ANN001, ANN202 - numba infers the types
    total = opacities[i]
    for k in range(3):
        total += means[i, U(k)] + scales[i, U(k)]
        for j in range(4):
            total += sh[i, U(j), U(k)]
    length = F(0)
    for k in range(4):
        length += quats[i, U(k)] * quats[i, U(k)]
    return abs(total) < _HUGE and F(0) < length < _HUGE


@kernel(fastmath=_FAST)
def _covariance(quats, scales, i, a, b):  # noqa: ANN001, ANN202
    """Return xx, xy, yy of the 2D covariance; ``a`` and ``b`` are the rows of Jacobian times view rotation."""
    w, x, y, z = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
    two = F(2) / (w * w + x * x + y * y + z * z)
    s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
    m00, m01, m02 = F(1) - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)
    m10, m11, m12 = two * (x * y + w * z), F(1) - two * (x * x + z * z), two * (y * z - w * x)
    m20, m21, m22 = two * (x * z - w * y), two * (y * z + w * x), F(1) - two * (x * x + y * y)
    u0, v0 = s0 * (a[0] * m00 + a[1] * m10 + a[2] * m20), s0 * (b[0] * m00 + b[1] * m10 + b[2] * m20)
    u1, v1 = s1 * (a[0] * m01 + a[1] * m11 + a[2] * m21), s1 * (b[0] * m01 + b[1] * m11 + b[2] * m21)
    u2, v2 = s2 * (a[0] * m02 + a[1] * m12 + a[2] * m22), s2 * (b[0] * m02 + b[1] * m12 + b[2] * m22)
    return u0 * u0 + u1 * u1 + u2 * u2, u0 * v0 + u1 * v1 + u2 * v2, v0 * v0 + v1 * v1 + v2 * v2


@kernel(fastmath=_FAST)
def _box(center, half, size):  # noqa: ANN001, ANN202
    """Return the first pixel inside center +- half, and the one after the last; both within the picture."""
    first = min(max(np.ceil(center - half - F(0.5)), F(0)), size)
    last = max(min(np.floor(center + half - F(0.5)) + F(1), size), F(0))
    return first, max(first, last)


@kernel(fastmath=_FAST)
def _colors(means, sh, i, center, records):  # noqa: ANN001, ANN202
    x, y, z = means[i, 0] - center[0], means[i, 1] - center[1], means[i, 2] - center[2]
    scale = _C1 / math.sqrt(x * x + y * y + z * z)
    for k in range(3):
        linear = z * sh[i, 2, k] - y * sh[i, 1, k] - x * sh[i, 3, k]
        records[i, U(6 + k)] = max(F(0), F(0.5) + _C0 * sh[i, 0, k] + scale * linear)


@kernel(fastmath=_FAST)
def _splat(means, quats, scales, opacities, sh, i, pose, camera, records):  # noqa: ANN001, ANN202
    """Write record ``i`` unless the Gaussian is out of view or invisible; return whether its numbers are sound."""
    r, t, eye = pose[0], pose[1], pose[2]
    focal, width, height, limit_x, limit_y = camera
    px, py, pz = means[i, 0], means[i, 1], means[i, 2]
    z = r[6] * px + r[7] * py + r[8] * pz + t[2]
    opacity = opacities[i]
    if z < _NEAR or opacity < F(rule.MIN_ALPHA):
        return True
    inverse_z = F(1) / z
    scale = focal * inverse_z
    tx = (r[0] * px + r[1] * py + r[2] * pz + t[0]) * inverse_z
    ty = (r[3] * px + r[4] * py + r[5] * pz + t[1]) * inverse_z
    kx, ky = min(max(tx, -limit_x), limit_x), min(max(ty, -limit_y), limit_y)
    a = (scale * (r[0] - kx * r[6]), scale * (r[1] - kx * r[7]), scale * (r[2] - kx * r[8]))
    b = (scale * (r[3] - ky * r[6]), scale * (r[4] - ky * r[7]), scale * (r[5] - ky * r[8]))
    xx, xy, yy = _covariance(quats, scales, i, a, b)
    xx += _LOW_PASS
    yy += _LOW_PASS
    det = xx * yy - xy * xy
    if not F(0) < det < _HUGE:
        return False
    faintness = -math.log(opacity)
    extent = min(_MAX_EXTENT, math.sqrt(max(F(0), F(2) * (_REACH - faintness))))
    mx, my = focal * tx + F(0.5) * width, focal * ty + F(0.5) * height
    x0, x1 = _box(mx, extent * math.sqrt(xx), width)
    y0, y1 = _box(my, extent * math.sqrt(yy), height)
    if x1 <= x0 or y1 <= y0:
        return True
    inverse = F(1) / det
    records[i, 0], records[i, 1] = mx, my
    records[i, 2], records[i, 3], records[i, 4] = F(0.5) * yy * inverse, -xy * inverse, F(0.5) * xx * inverse
    records[i, 5], records[i, 9] = faintness, z
    records[i, 10], records[i, 11], records[i, 12], records[i, 13] = x0, y0, x1, y1
    _colors(means, sh, i, eye, records)
    return True


@kernel(fastmath=_FAST)
def project(means, quats, scales, opacities, sh, pose, camera, first, last, records):  # noqa: ANN001, ANN201
    """Fill the records of Gaussians first..last-1 and return how many had a number that is not finite.

    means [N,3], quats [N,4] wxyz, scales [N,3], opacities [N], sh [N,4,3], records [N,RECORD]: float32, contiguous.
    pose is (rotation row by row, translation, centre of the camera), camera is (focal, width, height) in
    pixels and the largest |x/z|, |y/z| of the Jacobian.
    """
    dropped = 0
    for row in range(first, last):
        i = U(row)
        records[i, 10] = F(0)
        records[i, 12] = F(0)
        if not _finite(means, quats, scales, opacities, sh, i):
            dropped += 1
        elif not _splat(means, quats, scales, opacities, sh, i, pose, camera, records):
            dropped += 1
    return dropped
