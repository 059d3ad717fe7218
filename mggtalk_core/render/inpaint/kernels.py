"""Compiled loops of the inpainter; imported only when the first frame is mended, because numba takes a second to load.

Pictures that are looked up are [H,W,3] here: all of a pixel lies in one place. Maps on coarser grids are enlarged on
the way, row by row, as `unet.enlarged` does it. The plain twins are `Inpainter.forward`, `PatchRefiner.forward`, and
`rasterize_mesh` with `interpolate`.
"""

from __future__ import annotations

import numpy as np

from ..cpu.jit import kernel

_F, _U = np.float32, np.uint64  # an unsigned index is not asked whether it counts from the end
_FAST = {"contract", "nnan", "nsz"}
_HALF, _ONE, _ZERO = _F(0.5), _F(1.0), _F(0.0)


@kernel(fastmath=_FAST)
def _places(count, coarse, channels):  # noqa: ANN001, ANN202
    """Return, for each pixel of a line, where the coarse pixel at or before it begins, and the share of the next."""
    start, share = np.empty(count, np.uint64), np.empty(count, np.float32)
    for i in range(count):
        place = max((i + 0.5) * coarse / count - 0.5, 0.0)
        start[i], share[i] = int(place) * channels, place - int(place)
    return start, share


@kernel(fastmath=_FAST)
def _row(line, step, coarse, y, height):  # noqa: ANN001, ANN202
    """Enlarge a coarse map [h,w,C] downwards to row ``y`` of ``height``: into ``line`` [w*C]; ``step`` is its slope."""
    rows, columns, channels = coarse.shape
    place = max((y + 0.5) * rows / height - 0.5, 0.0)
    share = _F(place - int(place))
    above, below = coarse[int(place)].reshape(-1), coarse[min(int(place) + 1, rows - 1)].reshape(-1)
    for k in range(len(line)):
        line[k] = above[k] + share * (below[k] - above[k])
    for k in range((columns - 1) * channels):
        step[k] = line[k + channels] - line[k]
    step[(columns - 1) * channels :] = _ZERO


@kernel(fastmath=_FAST)
def _lines(coarse):  # noqa: ANN001, ANN202
    """Return room for a row of a coarse map and its slope."""
    size = coarse.shape[1] * coarse.shape[2]
    return np.empty(size, np.float32), np.empty(size, np.float32)


@kernel(fastmath=_FAST)
def _corners(x, y, width, height):  # noqa: ANN001, ANN202
    """Return where the four pixels around a place begin in a picture [H,W,3] laid flat, and the shares of the latter.

    Beyond the border, the border is repeated.
    """
    x = min(max(x, _ZERO), _F(width - 1))
    y = min(max(y, _ZERO), _F(height - 1))
    x0, y0 = int(x), int(y)
    x1, y1 = min(x0 + 1, width - 1) * 3, min(y0 + 1, height - 1) * width * 3
    tx, ty = x - _F(x0), y - _F(y0)
    x0, y0 = x0 * 3, y0 * width * 3
    return _U(y0 + x0), _U(y0 + x1), _U(y1 + x0), _U(y1 + x1), tx, ty


@kernel(fastmath=_FAST)
def _bilinear(picture, place, c):  # noqa: ANN001, ANN202
    a, b, tx = picture[place[0] + c], picture[place[2] + c], place[4]
    above = a + tx * (picture[place[1] + c] - a)
    return above + place[5] * (b + tx * (picture[place[3] + c] - b) - above)


@kernel(fastmath=_FAST)
def _store(bits, out):  # noqa: ANN001, ANN202
    """Copy float32, rounding to the nearest bfloat16, ties to even, where ``out`` has room for that only."""
    if out.itemsize == 4:
        for i in range(len(out)):
            out[i] = bits[i]
    else:
        for i in range(len(out)):
            out[i] = (bits[i] + np.uint32(0x7FFF) + ((bits[i] >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)


@kernel(fastmath=_FAST)
def assemble(composite, alpha, layer, source, corner, flow, near, out):  # noqa: ANN001, ANN201
    """Put together what the network sees: composite, alpha, layer and the veiled look-up in the source, less 0.5.

    ``composite`` [H,W,3], ``layer`` [3,H,W] and ``alpha`` [H,W] are a window of the source's crop ``source`` [H2,W2,3],
    ``corner`` (x, y) pixels inside it; ``flow`` is [h,w,2], ``near`` [h,w,1], all float32; ``out`` [H,W*10] are the
    bits of the result: of float32 in uint32, or of bfloat16 in uint16.
    """
    height, width = alpha.shape
    left, top = _F(corner[0]), _F(corner[1])
    (moves, move_steps), (nears, near_steps) = _lines(flow), _lines(near)
    (move_at, move_share), (near_at, near_share) = _places(width, flow.shape[1], 2), _places(width, near.shape[1], 1)
    line, picture = np.empty(width * 10, np.float32), source.reshape(-1)
    for y in range(height):
        _row(moves, move_steps, flow, y, height)
        _row(nears, near_steps, near, y, height)
        for x in range(width):
            k, i, t = _U(10 * x), move_at[x], move_share[x]
            line[k + _U(3)] = alpha[y, x] - _HALF
            for c in range(3):
                line[k + _U(c)] = composite[y, x, c] - _HALF
                line[k + _U(4 + c)] = line[k + _U(7 + c)] = layer[c, y, x] - _HALF
            veil = nears[near_at[x]] + near_share[x] * near_steps[near_at[x]]
            if veil <= _ZERO:
                continue
            dx, dy = moves[i] + t * move_steps[i], moves[i + _U(1)] + t * move_steps[i + _U(1)]
            place = _corners(_F(x) + left + dx, _F(y) + top + dy, source.shape[1], source.shape[0])
            for c in range(3):
                behind = layer[c, y, x]
                line[k + _U(7 + c)] = behind + veil * (_bilinear(picture, place, _U(c)) - behind) - _HALF
        _store(line.view(np.uint32), out[y])


@kernel(fastmath=_FAST)
def correct(composite, source, corner, layer, near, share, flow, fine, change):  # noqa: ANN001, ANN201
    """Write the change [H,W,3] that a correction makes: the mended picture less the composite, times ``share``.

    ``composite`` [H,W,3] and ``layer`` [3,H,W] are a window of ``source``'s crop, as in `assemble`; ``flow`` [h,w,4]
    leads into composite and source, ``fine`` [h2,w2,4] holds blend and residual, ``near`` [h3,w3,1] and ``share``
    [h4,w4,1] are veil and surroundings; all float32.
    """
    height, width = change.shape[:2]
    left, top = _F(corner[0]), _F(corner[1])
    (flows, flow_steps), (fines, fine_steps) = _lines(flow), _lines(fine)
    (nears, near_steps), (shares, share_steps) = _lines(near), _lines(share)
    (flow_at, flow_share), (fine_at, fine_share) = _places(width, flow.shape[1], 4), _places(width, fine.shape[1], 4)
    (near_at, near_share), (share_at, share_share) = _places(width, near.shape[1], 1), _places(width, share.shape[1], 1)
    picture, other = composite.reshape(-1), source.reshape(-1)
    for y in range(height):
        _row(flows, flow_steps, flow, y, height)
        _row(fines, fine_steps, fine, y, height)
        _row(nears, near_steps, near, y, height)
        _row(shares, share_steps, share, y, height)
        for x in range(width):
            part = shares[share_at[x]] + share_share[x] * share_steps[share_at[x]]
            if part <= _ZERO:
                for c in range(3):
                    change[y, x, c] = _ZERO
                continue
            veil = nears[near_at[x]] + near_share[x] * near_steps[near_at[x]]
            i, t = flow_at[x], flow_share[x]
            dx, dy = flows[i] + t * flow_steps[i], flows[i + _U(1)] + t * flow_steps[i + _U(1)]
            moved = _corners(_F(x) + dx, _F(y) + dy, width, height)
            dx = flows[i + _U(2)] + t * flow_steps[i + _U(2)]
            dy = flows[i + _U(3)] + t * flow_steps[i + _U(3)]
            shown = _corners(_F(x) + left + dx, _F(y) + top + dy, source.shape[1], source.shape[0])
            i, t = fine_at[x], fine_share[x]
            blend = fines[i] + t * fine_steps[i]
            for c in range(3):
                here, there, behind = _bilinear(picture, moved, _U(c)), _bilinear(other, shown, _U(c)), layer[c, y, x]
                there = behind + veil * (there - behind)
                residual = fines[i + _U(1 + c)] + t * fine_steps[i + _U(1 + c)]
                change[y, x, c] = part * (here + blend * (there - here) + residual - composite[y, x, c])


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
