"""Backward of the third pass: what each splat of a tile adds to its own gradients, front to back.

Per pixel only two numbers pass from splat to splat: the light that is left, and the part of (gradient . picture) that
lies behind. Nothing is stored in the forward pass but the picture. Every splat of every tile writes to a slot of its
own, so that sums do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np

from .binning import TILE
from .blocks import (
    BATCH,
    BLOCK,
    BLOCK_X,
    BLOCK_Y,
    BLOCKS,
    DE_BRUIJN,
    EXPONENTIAL,
    FAST,
    LANE_X,
    LANE_Y,
    LANES,
    MAX_ALPHA,
    MIN_TRANSMITTANCE,
    MIN_WEIGHT,
    PLACE,
    REACH,
    F,
    U,
    aligned,
    find_finished,
    gather,
    touched,
)
from .jit import kernel
from .projection import RECORD

SLOT = 10
"""Floats per slot. With g the gradient with respect to -ln alpha and d = mean - pixel, sums over the tile's pixels of
g, g dx, g dy, g dx^2, g dx dy, g dy^2, and the gradients with respect to r, g, b and depth."""

_LINE = 6 * LANES  # a block in the tile buffer: transmittance, (gradient . picture) behind, gradient of r, g, b, depth
_E0, _E1, _E2, _E3, _E4, _E5 = EXPONENTIAL


@kernel(fastmath=FAST)
def _block(buffer, sums, line, mx, my, ha, hb, hc, faint, r, g, b, depth):  # noqa: ANN001, ANN202 - numba infers the types
    """Take one splat through 16 pixels, as the forward pass does, and add to its sums."""
    for lane in range(LANES):
        i = U(lane) + U(line)
        k = U(lane)
        dx = mx - LANE_X[U(lane)]
        dy = my - LANE_Y[U(lane)]
        s = dx * (ha * dx + hb * dy) + (hc * dy * dy + faint)
        e = ((((_E5 * s + _E4) * s + _E3) * s + _E2) * s + _E1) * s + _E0
        e = e * e
        e = e * e
        e = e * e
        alpha = min(MAX_ALPHA, e)
        light = buffer[i]
        alpha = alpha if s <= REACH else F(0)
        weight = alpha * light
        left = light - weight
        done = left <= MIN_TRANSMITTANCE
        weight = F(0) if done else weight
        buffer[i] = -abs(light) if done else left
        vr, vg, vb, vd = buffer[i + U(32)], buffer[i + U(48)], buffer[i + U(64)], buffer[i + U(80)]
        value = r * vr + g * vg + b * vb + depth * vd
        behind = buffer[i + U(16)] - weight * value
        buffer[i + U(16)] = behind
        slope = e * (behind / (F(1) - alpha) - light * value)
        slope = slope if (weight > F(0)) & (e <= MAX_ALPHA) else F(0)
        gx, gy = slope * dx, slope * dy
        sums[k] += slope
        sums[k + U(16)] += gx
        sums[k + U(32)] += gy
        sums[k + U(48)] += gx * dx
        sums[k + U(64)] += gx * dy
        sums[k + U(80)] += gy * dy
        sums[k + U(96)] += weight * vr
        sums[k + U(112)] += weight * vg
        sums[k + U(128)] += weight * vb
        sums[k + U(144)] += weight * vd


@kernel(fastmath=FAST)
def _splat(splats, i, left, top, blocks, buffer, sums):  # noqa: ANN001, ANN202
    """Take row ``i`` of the batch through ``blocks``, a bit each."""
    mx, my = splats[i, 0] - F(left) - F(0.5), splats[i, 1] - F(top) - F(0.5)
    a, b, c = splats[i, 2], splats[i, 3], splats[i, 4]
    faintness, depth = splats[i, 5], splats[i, 9]
    red, green, blue = splats[i, 6], splats[i, 7], splats[i, 8]
    while blocks != U(0):
        lowest = blocks & (~blocks + U(1))
        block = PLACE[(lowest * U(DE_BRUIJN) & U(0xFFFFFFFF)) >> U(27)]
        blocks &= blocks - U(1)
        # Moments about the mean need no shift: dx and dy are the same distances in every block.
        px, py = mx - BLOCK_X[block], my - BLOCK_Y[block]
        _block(buffer, sums, block * U(_LINE), px, py, a, b, c, faintness, red, green, blue, depth)


@kernel(fastmath=FAST)
def _prepare(image, gradient, top, planes):  # noqa: ANN001, ANN202
    """Turn the gradients of a row of tiles into those of colour sums, depth sum and alpha, in whole rows.

    The expected depth is depth sum / alpha. ``planes`` [2,16,W] gets (gradient . picture) and that of the depth sum.
    """
    for row in range(min(TILE, image.shape[1] - top)):
        y = U(top + row)
        for column in range(image.shape[2]):
            x = U(column)
            alpha, depth = image[3, y, x], image[4, y, x]
            weight = max(alpha, MIN_WEIGHT)
            to_sum = gradient[4, y, x] / weight
            to_alpha = gradient[3, y, x] - (to_sum * depth if alpha > MIN_WEIGHT else F(0))
            behind = to_sum * depth * weight - (F(1) - alpha) * to_alpha
            for k in range(3):
                behind += gradient[U(k), y, x] * image[U(k), y, x]
            planes[0, U(row), x], planes[1, U(row), x] = behind, to_sum


@kernel(fastmath=FAST)
def _read_plane(planes, plane, top, left, high, wide, buffer, line):  # noqa: ANN001, ANN202
    """Copy a tile of a plane into the blocks, each to its ``line``."""
    for row in range(high):
        k, y = U(plane), U(top + row)
        first = (row >> 2) * (TILE // BLOCK) * _LINE + line + (row & 3) * BLOCK
        if wide == TILE:  # a fixed number of steps is unrolled
            for column in range(TILE):
                buffer[U(first + (column >> 2) * _LINE + (column & 3))] = planes[k, y, U(left + column)]
        else:
            for column in range(wide):
                buffer[U(first + (column >> 2) * _LINE + (column & 3))] = planes[k, y, U(left + column)]


@kernel(fastmath=FAST)
def _read_tile(gradient, planes, left, top, buffer):  # noqa: ANN001, ANN202
    """Start a tile: full light, and the gradients block by block. Pixels outside the picture have no light."""
    buffer[:] = F(0)
    wide, high = min(TILE, gradient.shape[2] - left), min(TILE, gradient.shape[1] - top)
    for row in range(TILE):
        first = (row >> 2) * (TILE // BLOCK) * _LINE + (row & 3) * BLOCK
        for column in range(TILE):
            inside = (row < high) & (column < wide)
            buffer[U(first + (column >> 2) * _LINE + (column & 3))] = F(1) if inside else F(-1)
    for k in range(2):
        _read_plane(planes, k, 0, left, high, wide, buffer, (1 + 4 * k) * LANES)
    for k in range(3):
        _read_plane(gradient, k, top, left, high, wide, buffer, (2 + k) * LANES)


@kernel(fastmath=FAST)
def _write_slot(sums, slots, slot):  # noqa: ANN001, ANN202
    """Add up the lanes and empty them. All sums in one loop: loops of 16 short steps would not become vector code."""
    a0, a1, a2, a3, a4 = F(0), F(0), F(0), F(0), F(0)
    a5, a6, a7, a8, a9 = F(0), F(0), F(0), F(0), F(0)
    for lane in range(LANES):
        i = U(lane)
        a0 += sums[i]
        a1 += sums[i + U(16)]
        a2 += sums[i + U(32)]
        a3 += sums[i + U(48)]
        a4 += sums[i + U(64)]
        a5 += sums[i + U(80)]
        a6 += sums[i + U(96)]
        a7 += sums[i + U(112)]
        a8 += sums[i + U(128)]
        a9 += sums[i + U(144)]
        for k in range(SLOT):
            sums[i + U(16 * k)] = F(0)
    slots[slot, 0], slots[slot, 1], slots[slot, 2], slots[slot, 3], slots[slot, 4] = a0, a1, a2, a3, a4
    slots[slot, 5], slots[slot, 6], slots[slot, 7], slots[slot, 8], slots[slot, 9] = a5, a6, a7, a8, a9


@kernel()
def _find_slots(entries, first, count, batch, row_slots, tile_x, tile_y, bits, places):  # noqa: ANN001, ANN202
    """Find each splat's slot in this tile: those of one splat follow each other, tile row by tile row.

    Slots are looked at too, so that they are in the cache when they are written: reads overlap, writes wait.
    """
    seen = 0
    for k in range(count):
        i = U(k)
        row = entries[U(first + k)] & U(0xFFFFFFFF)
        tx0, ty0, tx1 = int(batch[i, 10]) >> 4, int(batch[i, 11]) >> 4, (int(batch[i, 12]) + 15) >> 4
        place = U(row_slots[row] + (tile_y - ty0) * (tx1 - tx0) + tile_x - tx0)
        seen |= bits[place, 0] | bits[place, SLOT - 1]
        places[i] = place
    places[BATCH] = seen


@kernel(fastmath=FAST)
def blend_backward(records, entries, offsets, columns, first, last, image, gradient, row_slots, slots):  # noqa: ANN001, ANN201
    """Fill the slots of tiles first..last-1, which are one row of tiles.

    ``image`` is what `blending.blend` drew, ``gradient`` [5,H,W] the gradient with respect to it, ``row_slots`` [N+1]
    the first slot of each splat.
    """
    buffer, sums = aligned(BLOCKS * _LINE), aligned(SLOT * LANES)
    batch = np.empty((BATCH, RECORD), np.float32)
    blocks = np.empty(BATCH, np.uint64)
    bits, places = slots.view(np.int32), np.empty(BATCH + 1, np.uint64)
    planes = np.empty((2, TILE, image.shape[2]), np.float32)
    _prepare(image, gradient, first // columns * TILE, planes)
    for tile in range(first, last):
        if offsets[tile] == offsets[tile + 1]:
            continue
        tile_x, tile_y = tile % columns, tile // columns
        left, top = tile_x * TILE, tile_y * TILE
        _read_tile(gradient, planes, left, top, buffer)
        for start in range(offsets[tile], offsets[tile + 1], BATCH):
            count = min(BATCH, offsets[tile + 1] - start)
            gather(records, entries, start, count, batch)
            _find_slots(entries, start, count, batch, row_slots, tile_x, tile_y, bits, places)
            touched(batch, count, left, top, find_finished(buffer, _LINE), blocks)
            for k in range(count):
                _splat(batch, U(k), left, top, blocks[U(k)], buffer, sums)
                _write_slot(sums, slots, places[U(k)])


@kernel()
def first_slots(records, row_slots):  # noqa: ANN001, ANN201
    """Fill ``row_slots`` [N+1]: the first slot of each splat, and after the last one how many there are."""
    total = 0
    for row in range(records.shape[0]):
        row_slots[row] = total
        i = U(row)
        x0, y0, x1, y1 = records[i, 10], records[i, 11], records[i, 12], records[i, 13]
        if x1 > x0:
            total += (((int(x1) + 15) >> 4) - (int(x0) >> 4)) * (((int(y1) + 15) >> 4) - (int(y0) >> 4))
    row_slots[records.shape[0]] = total
    return total
