"""Compiled loops of the inpainter; imported only when the first frame is mended, because numba takes a second to load.

Pictures are [H,W,C] here, colour beside colour: a look-up finds all of a pixel in one place. Maps on coarser grids are
enlarged on the way, row by row, as `unet.enlarged` does it.
"""

from __future__ import annotations

import numpy as np

from ..cpu.jit import kernel

_F, _U = np.float32, np.uint64  # an unsigned index is not asked whether it counts from the end
_FAST = {"contract", "nnan", "nsz"}
_HALF, _ONE, _ZERO = _F(0.5), _F(1.0), _F(0.0)


@kernel(fastmath=_FAST)
def _steps(count, coarse):  # noqa: ANN001, ANN202
    """Return, for each pixel of a line, the coarse pixel at or before it, the next one, and the share of the latter."""
    first, second, share = np.empty(count, np.uint64), np.empty(count, np.uint64), np.empty(count, np.float32)
    for i in range(count):
        place = max((i + 0.5) * coarse / count - 0.5, 0.0)
        before = int(place)
        first[i], second[i], share[i] = before, min(before + 1, coarse - 1), place - before
    return first, second, share


@kernel(fastmath=_FAST)
def _row(line, coarse, first, second, share):  # noqa: ANN001, ANN202
    """Put the mix of two rows of a coarse map [h,w,C] into ``line`` [w,C]."""
    width, channels = line.shape
    for x in range(width):
        for c in range(channels):
            before = coarse[first, x, c]
            line[x, c] = before + share * (coarse[second, x, c] - before)


@kernel(fastmath=_FAST)
def _at(line, channel, first, second, share):  # noqa: ANN001, ANN202
    before = line[first, channel]
    return before + share * (line[second, channel] - before)


@kernel(fastmath=_FAST)
def _corners(x, y, width, height):  # noqa: ANN001, ANN202
    """Return the columns, rows and shares of the four pixels around a place; beyond the border, the border's."""
    x = min(max(x, _ZERO), _F(width - 1))
    y = min(max(y, _ZERO), _F(height - 1))
    x0, y0 = int(x), int(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    return _U(x0), _U(x1), _U(y0), _U(y1), x - _F(x0), y - _F(y0)


@kernel(fastmath=_FAST)
def _bilinear(picture, c, x0, x1, y0, y1, tx, ty):  # noqa: ANN001, ANN202
    a, b = picture[y0, x0, c], picture[y1, x0, c]
    above = a + tx * (picture[y0, x1, c] - a)
    return above + ty * (b + tx * (picture[y1, x1, c] - b) - above)


@kernel(fastmath=_FAST)
def assemble(composite, alpha, layer, source, flow, near, out):  # noqa: ANN001, ANN201
    """Put together what the network sees: composite, alpha, layer and the veiled look-up in the source, less 0.5.

    ``alpha`` [H,W], ``flow`` [h,w,2], ``near`` [h,w,1], ``out`` [H,W,10]; the others [H,W,3]; all float32.
    """
    height, width = alpha.shape
    rows, columns = _steps(height, flow.shape[0]), _steps(width, flow.shape[1])
    moves, nears = np.empty(flow.shape[1:], np.float32), np.empty(near.shape[1:], np.float32)
    for y in range(height):
        _row(moves, flow, rows[0][y], rows[1][y], rows[2][y])
        _row(nears, near, rows[0][y], rows[1][y], rows[2][y])
        for x in range(width):
            i, j, t = columns[0][x], columns[1][x], columns[2][x]
            for c in range(3):
                out[y, x, c] = composite[y, x, c] - _HALF
                out[y, x, 4 + c] = layer[y, x, c] - _HALF
                out[y, x, 7 + c] = layer[y, x, c] - _HALF
            out[y, x, 3] = alpha[y, x] - _HALF
            veil = _at(nears, 0, i, j, t)
            if veil <= _ZERO:
                continue
            place = _F(x) + _at(moves, 0, i, j, t), _F(y) + _at(moves, 1, i, j, t)
            x0, x1, y0, y1, tx, ty = _corners(place[0], place[1], width, height)
            for c in range(3):
                behind = layer[y, x, c]
                shown = _bilinear(source, c, x0, x1, y0, y1, tx, ty)
                out[y, x, 7 + c] = behind + veil * (shown - behind) - _HALF


@kernel(fastmath=_FAST)
def correct(composite, source, layer, near, share, flow, fine, change):  # noqa: ANN001, ANN201
    """Write the change [H,W,3] that a correction makes: the mended picture less the composite, times ``share``.

    ``composite``, ``source`` and ``layer`` are [H,W,3]; ``flow`` [h,w,4] leads into composite and source, ``fine``
    [h2,w2,4] holds blend and residual, ``near`` [h,w,1] and ``share`` [h3,w3,1] are veil and surroundings; all float32.
    """
    height, width = change.shape[:2]
    flow_y, flow_x = _steps(height, flow.shape[0]), _steps(width, flow.shape[1])
    near_y, near_x = _steps(height, near.shape[0]), _steps(width, near.shape[1])
    fine_y, fine_x = _steps(height, fine.shape[0]), _steps(width, fine.shape[1])
    share_y, share_x = _steps(height, share.shape[0]), _steps(width, share.shape[1])
    flows, nears = np.empty(flow.shape[1:], np.float32), np.empty(near.shape[1:], np.float32)
    fines, shares = np.empty(fine.shape[1:], np.float32), np.empty(share.shape[1:], np.float32)
    for y in range(height):
        _row(flows, flow, flow_y[0][y], flow_y[1][y], flow_y[2][y])
        _row(nears, near, near_y[0][y], near_y[1][y], near_y[2][y])
        _row(fines, fine, fine_y[0][y], fine_y[1][y], fine_y[2][y])
        _row(shares, share, share_y[0][y], share_y[1][y], share_y[2][y])
        for x in range(width):
            part = _at(shares, 0, share_x[0][x], share_x[1][x], share_x[2][x])
            if part <= _ZERO:
                for c in range(3):
                    change[y, x, c] = _ZERO
                continue
            veil = _at(nears, 0, near_x[0][x], near_x[1][x], near_x[2][x])
            i, j, t = flow_x[0][x], flow_x[1][x], flow_x[2][x]
            moved = _corners(_F(x) + _at(flows, 0, i, j, t), _F(y) + _at(flows, 1, i, j, t), width, height)
            shown = _corners(_F(x) + _at(flows, 2, i, j, t), _F(y) + _at(flows, 3, i, j, t), width, height)
            i, j, t = fine_x[0][x], fine_x[1][x], fine_x[2][x]
            blend = _at(fines, 0, i, j, t)
            for c in range(3):
                here = _bilinear(composite, c, moved[0], moved[1], moved[2], moved[3], moved[4], moved[5])
                there = _bilinear(source, c, shown[0], shown[1], shown[2], shown[3], shown[4], shown[5])
                if veil < _ONE:
                    behind = layer[y, x, c]
                    there = behind + veil * (there - behind)
                mended = here + blend * (there - here) + _at(fines, 1 + c, i, j, t)
                change[y, x, c] = part * (mended - composite[y, x, c])


@kernel(fastmath=_FAST)
def finish(composite, change, ramp, out):  # noqa: ANN001, ANN201
    """Add the change [H,W,3], dying out at the border, to the composite [H,W,3]; ``out`` [3,H,W] is 0..1."""
    height, width = change.shape[:2]
    for y in range(height):
        for c in range(3):
            for x in range(width):
                value = composite[y, x, c] + min(ramp[x], ramp[y]) * change[y, x, c]
                out[c, y, x] = min(max(value, _ZERO), _ONE)


@kernel(fastmath=_FAST)
def may_cover(corners, triangles, width, height, kept):  # noqa: ANN001, ANN201
    """Put the triangles whose box holds the centre of a pixel into ``kept``, in order; return how many they are."""
    count = 0
    for index in range(len(triangles)):
        a, b, c = triangles[index, 0], triangles[index, 1], triangles[index, 2]
        low_x = np.ceil(min(corners[a, 0], corners[b, 0], corners[c, 0]) - _HALF)
        low_y = np.ceil(min(corners[a, 1], corners[b, 1], corners[c, 1]) - _HALF)
        high_x = max(corners[a, 0], corners[b, 0], corners[c, 0]) - _HALF
        high_y = max(corners[a, 1], corners[b, 1], corners[c, 1]) - _HALF
        if max(low_x, 0) <= min(high_x, width - 1) and max(low_y, 0) <= min(high_y, height - 1):
            kept[count, 0], kept[count, 1], kept[count, 2] = a, b, c
            count += 1
    return count


@kernel(fastmath=_FAST)
def spread_values(values, triangles, triangle, weights, out):  # noqa: ANN001, ANN201
    """Put the values [V,C] of a triangle's corners into each pixel of ``out`` [C,H,W] that it fills; zero elsewhere."""
    channels, height, width = out.shape
    for y in range(height):
        for x in range(width):
            index = triangle[y, x]
            if index < 0:
                for k in range(channels):
                    out[k, y, x] = _ZERO
                continue
            a, b, c = triangles[index, 0], triangles[index, 1], triangles[index, 2]
            wa, wb, wc = weights[0, y, x], weights[1, y, x], weights[2, y, x]
            for k in range(channels):
                out[k, y, x] = wa * values[a, k] + wb * values[b, k] + wc * values[c, k]
