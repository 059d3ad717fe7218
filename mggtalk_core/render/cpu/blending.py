"""Third pass: the splats of each tile, front to back."""

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

_PIXELS = BLOCKS * LANES  # of a tile; its buffer holds, block by block, transmittances, then r, g, b, weighted depths
_ALL = (1 << BLOCKS) - 1
_E0, _E1, _E2, _E3, _E4, _E5 = EXPONENTIAL


@kernel(fastmath=FAST)
def _blend_block(buffer, line, mx, my, ha, hb, hc, faint, r, g, b, depth):  # noqa: ANN001, ANN202
    """Blend one splat into 16 pixels: branch-free and with unsigned indices, so that it becomes vector code.

    ``constant + slopes + curve`` is -ln alpha. A finished pixel keeps its transmittance with the sign turned.
    """
    for lane in range(LANES):
        i = U(lane) + U(line)
        dx = mx - LANE_X[U(lane)]
        dy = my - LANE_Y[U(lane)]
        s = dx * (ha * dx + hb * dy) + (hc * dy * dy + faint)
        e = ((((_E5 * s + _E4) * s + _E3) * s + _E2) * s + _E1) * s + _E0
        e = e * e
        e = e * e
        alpha = min(MAX_ALPHA, e * e)
        light = buffer[i]
        weight = (alpha if s <= REACH else F(0)) * light
        left = light - weight
        done = left <= MIN_TRANSMITTANCE
        weight = F(0) if done else weight
        buffer[i] = -abs(light) if done else left
        buffer[i + U(_PIXELS)] += weight * r
        buffer[i + U(2 * _PIXELS)] += weight * g
        buffer[i + U(3 * _PIXELS)] += weight * b
        buffer[i + U(4 * _PIXELS)] += weight * depth


@kernel(fastmath=FAST)
def _blend_splat(splats, i, left, top, blocks, buffer):  # noqa: ANN001, ANN202
    """Blend row ``i`` of the batch into ``blocks``, a bit each."""
    mx, my = splats[i, 0] - F(left) - F(0.5), splats[i, 1] - F(top) - F(0.5)
    a, b, c = splats[i, 2], splats[i, 3], splats[i, 4]
    faintness, depth = splats[i, 5], splats[i, 9]
    red, green, blue = splats[i, 6], splats[i, 7], splats[i, 8]
    while blocks != U(0):
        lowest = blocks & (~blocks + U(1))
        block = PLACE[(lowest * U(DE_BRUIJN) & U(0xFFFFFFFF)) >> U(27)]
        blocks &= blocks - U(1)
        px, py = mx - BLOCK_X[block], my - BLOCK_Y[block]
        _blend_block(buffer, block * U(LANES), px, py, a, b, c, faintness, red, green, blue, depth)


@kernel(fastmath=FAST)
def _blend_tile(records, entries, first, last, left, top, scratch):  # noqa: ANN001, ANN202
    batch, blocks, buffer = scratch
    buffer[:] = F(0)
    buffer[:_PIXELS] = F(1)
    finished = 0
    for start in range(first, last, BATCH):
        count = min(BATCH, last - start)
        gather(records, entries, start, count, batch)
        touched(batch, count, left, top, finished, blocks)
        for k in range(count):
            _blend_splat(batch, U(k), left, top, blocks[U(k)], buffer)
        finished = find_finished(buffer, LANES)
        if finished == _ALL:
            return


@kernel(fastmath=FAST)
def _finish(buffer):  # noqa: ANN001, ANN202
    """Turn what light is left into alpha, and the depth sum into the expected depth."""
    for pixel in range(_PIXELS):
        i = U(pixel)
        alpha = F(1) - abs(buffer[i])
        buffer[i] = alpha
        buffer[i + U(4 * _PIXELS)] /= max(alpha, MIN_WEIGHT)


@kernel(fastmath=FAST)
def _write_tile(buffer, left, top, image):  # noqa: ANN001, ANN202
    """Copy the blocks into the picture; alpha comes first in the buffer, and fourth in the picture."""
    whole = left + TILE <= image.shape[2]
    for channel in range(5):
        plane = (channel + 1) * _PIXELS if channel < 3 else (channel - 3) * 4 * _PIXELS
        c = U(channel)
        for row in range(min(TILE, image.shape[1] - top)):
            first = plane + (row >> 2) * (TILE // BLOCK) * LANES + (row & 3) * BLOCK
            y = U(top + row)
            if whole:  # a fixed number of steps is unrolled
                for column in range(TILE):
                    image[c, y, U(left + column)] = buffer[U(first + (column >> 2) * LANES + (column & 3))]
            else:
                for column in range(image.shape[2] - left):
                    image[c, y, U(left + column)] = buffer[U(first + (column >> 2) * LANES + (column & 3))]


@kernel(fastmath=FAST)
def blend(records, entries, offsets, columns, first, last, image):  # noqa: ANN001, ANN201
    """Draw tiles first..last-1 into ``image`` [5,H,W]: premultiplied colour, alpha, expected depth."""
    buffer = aligned(5 * _PIXELS)
    batch = np.empty((BATCH, RECORD), np.float32)
    scratch = batch, np.empty(BATCH, np.uint64), buffer
    for tile in range(first, last):
        left, top = tile % columns * TILE, tile // columns * TILE
        if offsets[tile] == offsets[tile + 1]:
            image[:, top : top + TILE, left : left + TILE] = F(0)
            continue
        _blend_tile(records, entries, offsets[tile], offsets[tile + 1], left, top, scratch)
        _finish(buffer)
        _write_tile(buffer, left, top, image)
