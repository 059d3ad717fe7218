"""Backward of the first pass: from the slots of a splat to the gradients of the Gaussian's parameters."""

from __future__ import annotations

import math

import numpy as np

from .. import splatting as rule
from .blending_backward import SLOT
from .jit import kernel

F = np.float32
U = np.uint64
LANES = 16
_C0, _C1 = F(rule.SH_C0), F(rule.SH_C1)
_FAST = {"contract", "arcp", "nsz", "reassoc"}
# Lines of the lane buffer. Parameters and record; slot sums; then gradients in the order of the parameters.
_PX, _PY, _PZ, _QW, _QX, _QY, _QZ, _S0, _S1, _S2, _OPACITY, _SH = (U(LANES * k) for k in range(12))
_A, _B, _C, _RED = (U(LANES * k) for k in range(23, 27))
_G, _GX, _GY, _GXX, _GXY, _GYY, _GRED, _, _, _GZ = (U(LANES * k) for k in range(29, 39))
_TO_PX, _TO_PY, _TO_PZ, _TO_QW, _TO_QX, _TO_QY, _TO_QZ, _TO_S0, _TO_S1, _TO_S2, _TO_OPACITY, _TO_SH = (
    U(LANES * k) for k in range(39, 51)
)
_CAM_X, _CAM_Y, _CAM_Z = (U(LANES * k) for k in range(62, 65))
LINES = 65


@kernel(fastmath=_FAST)
def _load(means, quats, scales, opacities, sh, records, first, count, v):  # noqa: ANN001, ANN202
    """Turn rows into lanes."""
    for lane in range(count):
        i, j = U(first + lane), U(lane)
        for k in range(3):
            v[_PX + U(LANES * k) + j] = means[i, U(k)]
            v[_S0 + U(LANES * k) + j] = scales[i, U(k)]
            v[_A + U(LANES * k) + j] = records[i, U(k + 2)]
            v[_RED + U(LANES * k) + j] = records[i, U(k + 6)]
        for k in range(4):
            v[_QW + U(LANES * k) + j] = quats[i, U(k)]
            for c in range(3):
                v[_SH + U(LANES * (3 * k + c)) + j] = sh[i, U(k), U(c)]
        v[_OPACITY + j] = opacities[i]


@kernel(fastmath=_FAST)
def _gather(row_slots, slots, first, count, v):  # noqa: ANN001, ANN202
    """Sum the slots of each splat, tile by tile."""
    for lane in range(count):
        j = U(lane)
        for k in range(SLOT):
            v[_G + U(LANES * k) + j] = F(0)
        for slot in range(row_slots[U(first + lane)], row_slots[U(first + lane + 1)]):
            for k in range(SLOT):
                v[_G + U(LANES * k) + j] += slots[U(slot), U(k)]


@kernel(inline="always")
def _rotation(w, x, y, z):  # noqa: ANN001, ANN202
    """Return the rows of the rotation matrix of a unit quaternion."""
    two = F(2)
    row0 = (F(1) - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y))
    row1 = (two * (x * y + w * z), F(1) - two * (x * x + z * z), two * (y * z - w * x))
    row2 = (two * (x * z - w * y), two * (y * z + w * x), F(1) - two * (x * x + y * y))
    return row0, row1, row2


@kernel(inline="always")
def _dot(a, b):  # noqa: ANN001, ANN202
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel(inline="always")
def _times(a, m0, m1, m2):  # noqa: ANN001, ANN202
    """Multiply the row ``a`` by the matrix of rows m0, m1, m2."""
    return (
        a[0] * m0[0] + a[1] * m1[0] + a[2] * m2[0],
        a[0] * m0[1] + a[1] * m1[1] + a[2] * m2[1],
        a[0] * m0[2] + a[1] * m1[2] + a[2] * m2[2],
    )


@kernel(inline="always")
def _covariance_gradient(a, b, c, va, vb, vc):  # noqa: ANN001, ANN202
    """Turn the gradient of the conic (a, b, c) into that of the covariance (xx, xy, yy): -Q G Q."""
    half = F(0.5) * vb
    p00, p01 = a * va + b * half, a * half + b * vc
    p10, p11 = b * va + c * half, b * half + c * vc
    return -(p00 * a + p01 * b), -(p00 * b + p01 * c) - (p10 * a + p11 * b), -(p10 * b + p11 * c)


@kernel(inline="always")
def _quaternion_gradient(w, x, y, z, q0, q1, q2):  # noqa: ANN001, ANN202
    """Turn the gradient of the rotation matrix (rows) into that of its unit quaternion, along the unit sphere."""
    two = F(2)
    gw = two * (x * (q2[1] - q1[2]) + y * (q0[2] - q2[0]) + z * (q1[0] - q0[1]))
    gx = two * (y * (q1[0] + q0[1]) + z * (q2[0] + q0[2]) + w * (q2[1] - q1[2]) - two * x * (q1[1] + q2[2]))
    gy = two * (x * (q1[0] + q0[1]) + z * (q2[1] + q1[2]) + w * (q0[2] - q2[0]) - two * y * (q0[0] + q2[2]))
    gz = two * (x * (q2[0] + q0[2]) + y * (q2[1] + q1[2]) + w * (q1[0] - q0[1]) - two * z * (q0[0] + q1[1]))
    along = gw * w + gx * x + gy * y + gz * z
    return gw - along * w, gx - along * x, gy - along * y, gz - along * z


@kernel(inline="always")
def _compensation_gradient(xx, xy, yy, a, b, c, g):  # noqa: ANN001, ANN202
    """Return the gradients of xx, xy, yy through the antialiased opacity o sqrt(det / det').

    ``a``, ``b``, ``c`` is the conic and ``g`` the gradient of -ln opacity: only logarithms of determinants matter.
    """
    sharp = xx * yy - xy * xy
    k = F(-0.5) * g if sharp > F(0) else F(0)
    inverse = F(1) / (sharp if sharp > F(0) else F(1))
    return k * (yy * inverse - a), F(-2) * k * (xy * inverse + b), k * (xx * inverse - c)


@kernel(inline="always")
def _view(px, py, pz, r, t, camera):  # noqa: ANN001, ANN202
    """Return 1/z, x/z, y/z of a point, the latter two as the Jacobian takes them, and the rows of Jacobian times R."""
    focal, _, _, limit_x, limit_y = camera
    inverse_z = F(1) / (r[6] * px + r[7] * py + r[8] * pz + t[2])
    scale = focal * inverse_z
    tx = (r[0] * px + r[1] * py + r[2] * pz + t[0]) * inverse_z
    ty = (r[3] * px + r[4] * py + r[5] * pz + t[1]) * inverse_z
    kx, ky = min(max(tx, -limit_x), limit_x), min(max(ty, -limit_y), limit_y)
    a = (scale * (r[0] - kx * r[6]), scale * (r[1] - kx * r[7]), scale * (r[2] - kx * r[8]))
    b = (scale * (r[3] - ky * r[6]), scale * (r[4] - ky * r[7]), scale * (r[5] - ky * r[8]))
    return inverse_z, tx, ty, kx, ky, a, b


@kernel(inline="always")
def _axes_gradient(v, i, s, u, w, antialiased):  # noqa: ANN001, ANN202
    """Return the gradients of the rows ``u`` and ``w`` of the 2D axes, each times the scales ``s``."""
    su, sw = (s[0] * u[0], s[1] * u[1], s[2] * u[2]), (s[0] * w[0], s[1] * w[1], s[2] * w[2])
    a, b, c = F(2) * v[_A + i], v[_B + i], F(2) * v[_C + i]
    xx, xy, yy = _covariance_gradient(a, b, c, F(0.5) * v[_GXX + i], v[_GXY + i], F(0.5) * v[_GYY + i])
    g = v[_G + i] if antialiased else F(0)
    more_xx, more_xy, more_yy = _compensation_gradient(_dot(su, su), _dot(su, sw), _dot(sw, sw), a, b, c, g)
    xx, xy, yy = F(2) * (xx + more_xx), xy + more_xy, F(2) * (yy + more_yy)
    to_u = (xx * su[0] + xy * sw[0], xx * su[1] + xy * sw[1], xx * su[2] + xy * sw[2])
    to_w = (yy * sw[0] + xy * su[0], yy * sw[1] + xy * su[1], yy * sw[2] + xy * su[2])
    return to_u, to_w


@kernel(fastmath=_FAST)
def _shape_gradient(v, r, t, camera, antialiased):  # noqa: ANN001, ANN202
    """Gradients of opacity, scales and quaternion, and of the position in the camera, for 16 Gaussians."""
    focal = camera[0]
    for lane in range(LANES):
        i = U(lane)
        inverse_z, tx, ty, kx, ky, a, b = _view(v[_PX + i], v[_PY + i], v[_PZ + i], r, t, camera)
        qw, qx, qy, qz = v[_QW + i], v[_QX + i], v[_QY + i], v[_QZ + i]
        unit = F(1) / math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
        qw, qx, qy, qz = qw * unit, qx * unit, qy * unit, qz * unit
        m0, m1, m2 = _rotation(qw, qx, qy, qz)
        s = (v[_S0 + i], v[_S1 + i], v[_S2 + i])
        u, w = _times(a, m0, m1, m2), _times(b, m0, m1, m2)
        gu, gw = _axes_gradient(v, i, s, u, w, antialiased)
        v[_TO_S0 + i], v[_TO_S1 + i] = gu[0] * u[0] + gw[0] * w[0], gu[1] * u[1] + gw[1] * w[1]
        v[_TO_S2 + i] = gu[2] * u[2] + gw[2] * w[2]
        gu, gw = (gu[0] * s[0], gu[1] * s[1], gu[2] * s[2]), (gw[0] * s[0], gw[1] * s[1], gw[2] * s[2])
        q0 = (a[0] * gu[0] + b[0] * gw[0], a[0] * gu[1] + b[0] * gw[1], a[0] * gu[2] + b[0] * gw[2])
        q1 = (a[1] * gu[0] + b[1] * gw[0], a[1] * gu[1] + b[1] * gw[1], a[1] * gu[2] + b[1] * gw[2])
        q2 = (a[2] * gu[0] + b[2] * gw[0], a[2] * gu[1] + b[2] * gw[1], a[2] * gu[2] + b[2] * gw[2])
        vw, vx, vy, vz = _quaternion_gradient(qw, qx, qy, qz, q0, q1, q2)
        v[_TO_QW + i], v[_TO_QX + i], v[_TO_QY + i], v[_TO_QZ + i] = vw * unit, vx * unit, vy * unit, vz * unit
        v[_TO_OPACITY + i] = -v[_G + i] / v[_OPACITY + i]
        ga, gb = (_dot(m0, gu), _dot(m1, gu), _dot(m2, gu)), (_dot(m0, gw), _dot(m1, gw), _dot(m2, gw))
        forward = (r[6], r[7], r[8])
        j00, j02 = _dot(ga, (r[0], r[1], r[2])), _dot(ga, forward)
        j11, j12 = _dot(gb, (r[3], r[4], r[5])), _dot(gb, forward)
        scale = focal * inverse_z
        to_mx = F(2) * v[_A + i] * v[_GX + i] + v[_B + i] * v[_GY + i]
        to_my = v[_B + i] * v[_GX + i] + F(2) * v[_C + i] * v[_GY + i]
        to_tx = focal * to_mx - (scale * j02 if abs(tx) <= camera[3] else F(0))
        to_ty = focal * to_my - (scale * j12 if abs(ty) <= camera[4] else F(0))
        to_scale = j00 + j11 - kx * j02 - ky * j12
        v[_CAM_X + i], v[_CAM_Y + i] = to_tx * inverse_z, to_ty * inverse_z
        v[_CAM_Z + i] = v[_GZ + i] - inverse_z * (to_scale * scale + to_tx * tx + to_ty * ty)


@kernel(fastmath=_FAST)
def _color_gradient(v, r, eye):  # noqa: ANN001, ANN202
    """Gradients of the spherical harmonics and, with those of the position in the camera, of the means."""
    for lane in range(LANES):
        i = U(lane)
        x, y, z = v[_PX + i] - eye[0], v[_PY + i] - eye[1], v[_PZ + i] - eye[2]
        near = F(1) / math.sqrt(x * x + y * y + z * z)
        x, y, z = x * near, y * near, z * near
        hx, hy, hz = F(0), F(0), F(0)
        for k in range(3):
            j = i + U(LANES * k)
            g = v[_GRED + j] if v[_RED + j] > F(0) else F(0)
            v[_TO_SH + j] = _C0 * g
            g *= _C1
            v[_TO_SH + U(3 * LANES) + j], v[_TO_SH + U(6 * LANES) + j] = -y * g, z * g
            v[_TO_SH + U(9 * LANES) + j] = -x * g
            hx -= v[_SH + U(9 * LANES) + j] * g
            hy -= v[_SH + U(3 * LANES) + j] * g
            hz += v[_SH + U(6 * LANES) + j] * g
        along = hx * x + hy * y + hz * z
        cx, cy, cz = v[_CAM_X + i], v[_CAM_Y + i], v[_CAM_Z + i]
        v[_TO_PX + i] = r[0] * cx + r[3] * cy + r[6] * cz + (hx - along * x) * near
        v[_TO_PY + i] = r[1] * cx + r[4] * cy + r[7] * cz + (hy - along * y) * near
        v[_TO_PZ + i] = r[2] * cx + r[5] * cy + r[8] * cz + (hz - along * z) * near


@kernel(fastmath=_FAST)
def _store(v, row_slots, first, count, gradients):  # noqa: ANN001, ANN202
    """Turn lanes into rows; what was not drawn has no gradient."""
    for lane in range(count):
        i, j = U(first + lane), U(lane)
        drawn = row_slots[i + U(1)] > row_slots[i]
        for k in range(23):
            gradients[i, U(k)] = v[_TO_PX + U(LANES * k) + j] if drawn else F(0)


@kernel(fastmath=_FAST)
def project_backward(parameters, pose, camera, antialiased, records, row_slots, slots, first, last, gradients):  # noqa: ANN001, ANN201
    """Fill ``gradients`` [N,23] of Gaussians first..last-1: means, quats, scales, opacity, sh, side by side."""
    means, quats, scales, opacities, sh = parameters
    v = np.ones(LINES * LANES, np.float32)
    for start in range(first, last, LANES):
        count = min(LANES, last - start)
        _load(means, quats, scales, opacities, sh, records, start, count, v)
        _gather(row_slots, slots, start, count, v)
        _shape_gradient(v, pose[0], pose[1], camera, antialiased)
        _color_gradient(v, pose[0], pose[2])
        _store(v, row_slots, start, count, gradients)
