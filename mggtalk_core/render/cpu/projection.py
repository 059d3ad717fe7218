"""First pass: each Gaussian becomes a splat record (EWA projection), or is culled."""

from __future__ import annotations

import math

import numpy as np

from .. import splatting as rule
from .jit import kernel

RECORD = 16
"""Fields per record, one cache line: mean x y, conic (a/2, b, c/2), -ln opacity, r g b, depth, box x0 y0 x1 y1, missed,
rank.

The box holds whole pixels, the end excluded; it is empty (x0 = x1) for a Gaussian that is not drawn. Of the blocks of
4 x 4 pixels in the box's corners the splat may miss some: 1 north-west + 2 north-east + 4 south-west + 8 south-east.
The rank, a whole number of 32 bits, orders by depth; see `_rank`.
"""
LANES = 16
"""Gaussians that are projected side by side: one vector."""

F = np.float32
U = np.uint64
_LOW_PASS, _NEAR, _REACH = F(rule.LOW_PASS), F(rule.NEAR_PLANE), F(-math.log(rule.MIN_ALPHA))
_MIN_ALPHA, _MAX_EXTENT, _C0, _C1 = F(rule.MIN_ALPHA), F(rule.MAX_EXTENT), F(rule.SH_C0), F(rule.SH_C1)
# NaN and Inf keep their meaning: they are looked for. By size: isfinite is x - x == 0, which reassociation makes true.
_FAST = {"contract", "arcp", "nsz", "reassoc"}
_HUGE = F(1e38)
# Lines of the lane buffer: a field of 16 Gaussians each. First the record, then the parameters, then what is between.
_MX, _MY, _A, _B, _C, _FAINT, _RED, _GREEN, _BLUE, _Z, _X0, _Y0, _X1, _Y1, _MISSED, _SOUND = (
    U(LANES * k) for k in range(16)
)
_PX, _PY, _PZ, _QW, _QX, _QY, _QZ, _S0, _S1, _S2, _OPACITY, _SH = (U(LANES * k) for k in range(16, 28))
_XX, _YY, _SEEN, _FRACTION = (U(LANES * k) for k in range(39, 43))
LINES = 43
_RANK = U(RECORD - 1)
_RANK_START = np.float64(2.0**-7).view(np.int64).item()
"""Bits of the nearest depth that has a rank of its own; with 27 bits for each power of two there is room up to 2^25."""
_ROOT_HALF = np.float32(math.sqrt(0.5)).view(np.int32).item()


def _logarithm() -> tuple[np.float32, ...]:
    """Fit ln(1 + f) / f on sqrt(1/2) - 1 .. sqrt(2) - 1 by a polynomial of degree 8, to 1e-7."""
    domain = [math.sqrt(0.5) - 1, math.sqrt(2.0) - 1]
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(lambda f: np.log1p(f) / f, 8, domain=domain)
    return tuple(F(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = _logarithm()


@kernel(fastmath=_FAST)
def _load(means, quats, scales, opacities, sh, first, count, v):  # noqa: ANN001, ANN202 - numba infers the types
    """Turn rows into lanes."""
    for lane in range(count):
        i, j = U(first + lane), U(lane)
        for k in range(3):
            v[_PX + U(LANES * k) + j] = means[i, U(k)]
            v[_S0 + U(LANES * k) + j] = scales[i, U(k)]
        for k in range(4):
            v[_QW + U(LANES * k) + j] = quats[i, U(k)]
            for c in range(3):
                v[_SH + U(LANES * (3 * k + c)) + j] = sh[i, U(k), U(c)]
        v[_OPACITY + j] = opacities[i]


@kernel(inline="always")
def _covariance(w, x, y, z, length, s0, s1, s2, a, b):  # noqa: ANN001, ANN202
    """Return xx, xy, yy of the 2D covariance; ``a`` and ``b`` are the rows of Jacobian times view rotation."""
    two = F(2) / length
    m00, m01, m02 = F(1) - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)
    m10, m11, m12 = two * (x * y + w * z), F(1) - two * (x * x + z * z), two * (y * z - w * x)
    m20, m21, m22 = two * (x * z - w * y), two * (y * z + w * x), F(1) - two * (x * x + y * y)
    u0, v0 = s0 * (a[0] * m00 + a[1] * m10 + a[2] * m20), s0 * (b[0] * m00 + b[1] * m10 + b[2] * m20)
    u1, v1 = s1 * (a[0] * m01 + a[1] * m11 + a[2] * m21), s1 * (b[0] * m01 + b[1] * m11 + b[2] * m21)
    u2, v2 = s2 * (a[0] * m02 + a[1] * m12 + a[2] * m22), s2 * (b[0] * m02 + b[1] * m12 + b[2] * m22)
    return u0 * u0 + u1 * u1 + u2 * u2, u0 * v0 + u1 * v1 + u2 * v2, v0 * v0 + v1 * v1 + v2 * v2


@kernel(fastmath=_FAST)
def _place(v, r, t, camera, antialiased):  # noqa: ANN001, ANN202
    """Project 16 Gaussians: mean, conic, depth and effective opacity; branch-free, so that it becomes vector code."""
    focal, width, height, limit_x, limit_y = camera
    for lane in range(LANES):
        i = U(lane)
        px, py, pz = v[_PX + i], v[_PY + i], v[_PZ + i]
        z = r[6] * px + r[7] * py + r[8] * pz + t[2]
        inverse_z = F(1) / z
        scale = focal * inverse_z
        tx = (r[0] * px + r[1] * py + r[2] * pz + t[0]) * inverse_z
        ty = (r[3] * px + r[4] * py + r[5] * pz + t[1]) * inverse_z
        kx, ky = min(max(tx, -limit_x), limit_x), min(max(ty, -limit_y), limit_y)
        a = (scale * (r[0] - kx * r[6]), scale * (r[1] - kx * r[7]), scale * (r[2] - kx * r[8]))
        b = (scale * (r[3] - ky * r[6]), scale * (r[4] - ky * r[7]), scale * (r[5] - ky * r[8]))
        qw, qx, qy, qz = v[_QW + i], v[_QX + i], v[_QY + i], v[_QZ + i]
        length = qw * qw + qx * qx + qy * qy + qz * qz
        xx, xy, yy = _covariance(qw, qx, qy, qz, length, v[_S0 + i], v[_S1 + i], v[_S2 + i], a, b)
        sharp = xx * yy - xy * xy
        xx += _LOW_PASS
        yy += _LOW_PASS
        det = xx * yy - xy * xy
        inverse = F(1) / det
        opacity = v[_OPACITY + i]
        visible = (z >= _NEAR) & (opacity >= _MIN_ALPHA)
        sound = (F(0) < length) & (length < _HUGE) & (((F(0) < det) & (det < _HUGE)) | (not visible))
        opacity *= math.sqrt(max(F(0), sharp) * inverse) if antialiased else F(1)
        v[_OPACITY + i] = opacity
        v[_SOUND + i] = F(1) if sound else F(0)
        v[_SEEN + i] = F(1) if visible & (opacity >= _MIN_ALPHA) else F(0)
        v[_MX + i], v[_MY + i] = focal * tx + F(0.5) * width, focal * ty + F(0.5) * height
        v[_A + i], v[_B + i], v[_C + i] = F(0.5) * yy * inverse, -xy * inverse, F(0.5) * xx * inverse
        v[_XX + i], v[_YY + i], v[_Z + i] = xx, yy, z


@kernel(fastmath=_FAST)
def _rank(v, axis, z, bits, ranks):  # noqa: ANN001, ANN202
    """Rank 16 Gaussians by depth, in float64: in float32 one in ten has the same depth as another of a head's.

    A positive float's bits grow with it. ``bits`` is the memory of ``z``; ``axis`` is the camera's.
    """
    for lane in range(LANES):
        i = U(lane)
        z[i] = axis[0] * v[_PX + i] + axis[1] * v[_PY + i] + axis[2] * v[_PZ + i] + axis[3]
    for lane in range(LANES):
        i = U(lane)
        ranks[i] = min(max((bits[i] - _RANK_START) >> 25, 0), 0xFFFFFFFF)


@kernel(fastmath=_FAST)
def _color(v, eye):  # noqa: ANN001, ANN202
    """Evaluate the spherical harmonics of 16 Gaussians, and find what is not finite."""
    for lane in range(LANES):
        i = U(lane)
        x, y, z = v[_PX + i] - eye[0], v[_PY + i] - eye[1], v[_PZ + i] - eye[2]
        scale = _C1 / math.sqrt(x * x + y * y + z * z)
        total = v[_PX + i] + v[_PY + i] + v[_PZ + i] + v[_S0 + i] + v[_S1 + i] + v[_S2 + i] + v[_OPACITY + i]
        for k in range(3):
            j = i + _SH + U(LANES * k)
            c0, c1, c2, c3 = v[j], v[j + U(3 * LANES)], v[j + U(6 * LANES)], v[j + U(9 * LANES)]
            v[_RED + U(LANES * k) + i] = max(F(0), F(0.5) + _C0 * c0 + scale * (z * c2 - y * c1 - x * c3))
            total += c0 + c1 + c2 + c3
        v[_SOUND + i] = v[_SOUND + i] if abs(total) < _HUGE else F(0)


@kernel(fastmath=_FAST)
def _faintness(v, bits):  # noqa: ANN001, ANN202
    """Take -ln of the opacities; ``bits`` is the same memory as whole numbers."""
    for lane in range(LANES):
        i = U(lane)
        exponent = (bits[_OPACITY + i] - np.int32(_ROOT_HALF)) >> np.int32(23)
        bits[_FRACTION + i] = bits[_OPACITY + i] - (exponent << np.int32(23))
        v[_FAINT + i] = F(exponent)
    for lane in range(LANES):
        i = U(lane)
        f = v[_FRACTION + i] - F(1)
        p = (((((((_L8 * f + _L7) * f + _L6) * f + _L5) * f + _L4) * f + _L3) * f + _L2) * f + _L1) * f + _L0
        v[_FAINT + i] = -(v[_FAINT + i] * F(math.log(2.0)) + p * f)


@kernel(fastmath=_FAST)
def _bound(v, width, height):  # noqa: ANN001, ANN202
    """Find the pixels that 16 splats reach; none for what is not seen, not sound or beside the picture."""
    for lane in range(LANES):
        i = U(lane)
        extent = min(_MAX_EXTENT, math.sqrt(max(F(0), F(2) * (_REACH - v[_FAINT + i]))))
        dx, dy = extent * math.sqrt(v[_XX + i]), extent * math.sqrt(v[_YY + i])
        left = min(max(v[_MX + i] - dx - F(0.5), F(0)), width)
        top = min(max(v[_MY + i] - dy - F(0.5), F(0)), height)
        right = F(np.int32(min(max(v[_MX + i] + dx + F(0.5), F(0)), width)))
        bottom = F(np.int32(min(max(v[_MY + i] + dy + F(0.5), F(0)), height)))
        x0, y0 = F(np.int32(left)), F(np.int32(top))
        x0 += F(1) if x0 < left else F(0)
        y0 += F(1) if y0 < top else F(0)
        drawn = (v[_SEEN + i] > F(0)) & (v[_SOUND + i] > F(0)) & (x0 < right) & (y0 < bottom)
        v[_X0 + i], v[_X1 + i] = x0 if drawn else F(0), right if drawn else F(0)
        v[_Y0 + i], v[_Y1 + i] = y0 if drawn else F(0), bottom if drawn else F(0)


@kernel(inline="always")
def _misses(a, b, c, limit, x0, x1, y0, y1, nx, ny):  # noqa: ANN001, ANN202
    """Tell whether a dx^2 + b dx dy + c dy^2 stays above ``limit`` in a box; nx, ny: its value nearest to 0 in each."""
    dy = min(max(F(-0.5) * b * nx / c, y0), y1)
    dx = min(max(F(-0.5) * b * ny / a, x0), x1)
    return (nx * (a * nx + b * dy) + c * dy * dy > limit) & (dx * (a * dx + b * ny) + c * ny * ny > limit)


@kernel(fastmath=_FAST)
def _cut_corners(v):  # noqa: ANN001, ANN202
    """Find the blocks in the corners of their boxes that 16 splats miss: an eighth of all that boxes touch."""
    for lane in range(LANES):
        i = U(lane)
        a, b, c = v[_A + i], v[_B + i], v[_C + i]
        limit = (_REACH - v[_FAINT + i]) * F(1.001) + F(1e-3)  # rounding must not cost a pixel
        mx, my = v[_MX + i] - F(0.5), v[_MY + i] - F(0.5)
        # Distances from the mean, of the first and last pixel of the outer blocks.
        w = mx - F(np.int32(v[_X0 + i]) & np.int32(-4))
        e = mx - F((np.int32(v[_X1 + i]) - np.int32(1)) & np.int32(-4))
        n = my - F(np.int32(v[_Y0 + i]) & np.int32(-4))
        s = my - F((np.int32(v[_Y1 + i]) - np.int32(1)) & np.int32(-4))
        w1, e1, n1, s1 = w - F(3), e - F(3), n - F(3), s - F(3)
        wn, en = max(min(F(0), w), w1), max(min(F(0), e), e1)
        nn, sn = max(min(F(0), n), n1), max(min(F(0), s), s1)
        missed = F(1) if _misses(a, b, c, limit, w1, w, n1, n, wn, nn) else F(0)
        missed += F(2) if _misses(a, b, c, limit, e1, e, n1, n, en, nn) else F(0)
        missed += F(4) if _misses(a, b, c, limit, w1, w, s1, s, wn, sn) else F(0)
        missed += F(8) if _misses(a, b, c, limit, e1, e, s1, s, en, sn) else F(0)
        v[_MISSED + i] = missed


@kernel(fastmath=_FAST)
def _store(v, ranks, first, count, records, records_bits):  # noqa: ANN001, ANN202
    """Turn lanes into records and count those with a number that is not finite."""
    dropped = 0
    for lane in range(count):
        i, j = U(first + lane), U(lane)
        for k in range(RECORD - 1):
            records[i, U(k)] = v[U(LANES * k) + j]
        records_bits[i, _RANK] = ranks[j]
        dropped += v[_SOUND + j] == F(0)
    return dropped


@kernel(fastmath=_FAST)
def _count(v, count, columns, counts):  # noqa: ANN001, ANN202
    """Count the splats that touch each tile, while their boxes are at hand."""
    for lane in range(count):
        j = U(lane)
        x0, x1 = int(v[_X0 + j]) >> 4, (int(v[_X1 + j]) + 15) >> 4
        for ty in range(int(v[_Y0 + j]) >> 4, (int(v[_Y1 + j]) + 15) >> 4):
            for tx in range(x0, x1):
                counts[U(ty * columns + tx)] += 1


@kernel(fastmath=_FAST)
def project(parameters, pose, camera, antialiased, first, last, records, records_bits, columns, counts):  # noqa: ANN001, ANN201
    """Fill the records of Gaussians first..last-1 and return how many had a number that is not finite.

    ``counts`` [tiles], ``columns`` to a row, is told how many splats touch each tile of 16 pixels.

    means [N,3], quats [N,4] wxyz, scales [N,3], opacities [N], sh [N,4,3], records [N,RECORD]: float32, contiguous;
    records_bits is the memory of the records as uint32. pose is (rotation row by row, translation, centre of the
    camera, and in float64 the camera's axis and distance), camera is (focal, width, height) in pixels and the largest
    |x/z|, |y/z| of the Jacobian.
    """
    means, quats, scales, opacities, sh = parameters
    counts[:] = 0
    dropped = 0
    v = np.ones(LINES * LANES, np.float32)
    bits = v.view(np.int32)
    z, ranks = np.empty(LANES, np.float64), np.empty(LANES, np.int64)
    z_bits = z.view(np.int64)
    for start in range(first, last, LANES):
        count = min(LANES, last - start)
        _load(means, quats, scales, opacities, sh, start, count, v)
        _place(v, pose[0], pose[1], camera, antialiased)
        _rank(v, pose[3], z, z_bits, ranks)
        _color(v, pose[2])
        _faintness(v, bits)
        _bound(v, camera[1], camera[2])
        _cut_corners(v)
        dropped += _store(v, ranks, start, count, records, records_bits)
        _count(v, count, columns, counts)
    return dropped
