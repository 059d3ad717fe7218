"""Third pass: the splats of each tile, front to back."""

from __future__ import annotations

import numpy as np

from .. import splatting as rule
from .binning import TILE
from .jit import kernel
from .projection import RECORD

BLOCK = 4
"""A tile is 4 x 4 blocks of 4 x 4 pixels: a block is one vector, and most splats touch few blocks."""

F = np.float32
U = np.uint64
_LANES = BLOCK * BLOCK
_BLOCKS = (TILE // BLOCK) ** 2
_PIXELS = _BLOCKS * _LANES  # of a tile; its buffer holds, block by block, transmittances, then r, g, b, weighted depths
_BATCH = 32  # splats between two looks at which blocks are finished
_FAST = {"contract", "arcp", "nsz", "reassoc"}
_MAX_ALPHA, _MIN_TRANSMITTANCE, _MIN_WEIGHT = F(rule.MAX_ALPHA), F(rule.MIN_TRANSMITTANCE), F(rule.MIN_WEIGHT)
_REACH = F(-np.log(rule.MIN_ALPHA))  # -ln alpha of the faintest splat that is drawn
_LANE_X = np.arange(_LANES, dtype=np.float32) % BLOCK
_LANE_Y = np.arange(_LANES, dtype=np.float32) // BLOCK
_BLOCK_X = np.arange(_BLOCKS, dtype=np.float32) % (TILE // BLOCK) * F(BLOCK)
_BLOCK_Y = np.arange(_BLOCKS, dtype=np.float32) // (TILE // BLOCK) * F(BLOCK)
_ALL = (1 << _BLOCKS) - 1
_COLUMN = 0x1111  # the blocks of the first column, a bit each
_DE_BRUIJN = 0x077CB531  # times 2^k, its upper 5 of 32 bits differ for every k: they find the place of a lone bit
_PLACE = np.zeros(32, np.uint64)
_PLACE[[((_DE_BRUIJN << k) & 0xFFFFFFFF) >> 27 for k in range(32)]] = np.arange(32)


def exponential() -> tuple[np.float32, ...]:
    """Fit exp(-s/8) on 0..5.6 by a polynomial of degree 5; its eighth power is exp(-s) to 1e-6."""
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(lambda s: np.exp(-s / 8), 5, domain=[0, 5.6])
    return tuple(F(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


_E0, _E1, _E2, _E3, _E4, _E5 = exponential()


@kernel(fastmath=_FAST)
def _blend_block(buffer, line, mx, my, ha, hb, hc, faint, r, g, b, depth):  # noqa: ANN001, ANN202
    """Blend one splat into 16 pixels: branch-free and with unsigned indices, so that it becomes vector code.

    ``constant + slopes + curve`` is -ln alpha. A finished pixel keeps its transmittance with the sign turned.
    """
    for lane in range(_LANES):
        i = U(lane) + U(line)
        dx = mx - _LANE_X[U(lane)]
        dy = my - _LANE_Y[U(lane)]
        s = dx * (ha * dx + hb * dy) + (hc * dy * dy + faint)
        e = ((((_E5 * s + _E4) * s + _E3) * s + _E2) * s + _E1) * s + _E0
        e = e * e
        e = e * e
        alpha = min(_MAX_ALPHA, e * e)
        light = buffer[i]
        weight = (alpha if s <= _REACH else F(0)) * light
        left = light - weight
        done = left <= _MIN_TRANSMITTANCE
        weight = F(0) if done else weight
        buffer[i] = -abs(light) if done else left
        buffer[i + U(_PIXELS)] += weight * r
        buffer[i + U(2 * _PIXELS)] += weight * g
        buffer[i + U(3 * _PIXELS)] += weight * b
        buffer[i + U(4 * _PIXELS)] += weight * depth


@kernel()
def _aligned(size):  # noqa: ANN001, ANN202
    """Return zeros that start at a cache line: a vector across two lines costs two accesses."""
    memory = np.zeros(size + 16, np.float32)
    start = (64 - (memory.ctypes.data & 63)) // 4 % 16
    return memory[start : start + size]


@kernel(fastmath=_FAST)
def _touched(splats, count, left, top, finished, blocks):  # noqa: ANN001, ANN202
    """Find the unfinished blocks that each box touches, a bit each.

    Two nested loops over a few blocks would take longer: the processor guesses their ends wrong each time.
    """
    for row in range(count):
        i = U(row)
        x0, y0 = max(int(splats[i, 10]) - left, 0) >> 2, max(int(splats[i, 11]) - top, 0) >> 2
        x1, y1 = (min(int(splats[i, 12]) - left, TILE) + 3) >> 2, (min(int(splats[i, 13]) - top, TILE) + 3) >> 2
        wide = ((1 << x1) - (1 << x0)) * _COLUMN
        high = (1 << (4 * y1)) - (1 << (4 * y0))
        blocks[i] = U(wide & high & ~finished)


@kernel(fastmath=_FAST)
def _blend_splat(splats, i, left, top, blocks, buffer):  # noqa: ANN001, ANN202
    """Blend row ``i`` of the batch into ``blocks``, a bit each."""
    mx, my = splats[i, 0] - F(left) - F(0.5), splats[i, 1] - F(top) - F(0.5)
    a, b, c = splats[i, 2], splats[i, 3], splats[i, 4]
    faintness, depth = splats[i, 5], splats[i, 9]
    red, green, blue = splats[i, 6], splats[i, 7], splats[i, 8]
    while blocks != U(0):
        lowest = blocks & (~blocks + U(1))
        block = _PLACE[(lowest * U(_DE_BRUIJN) & U(0xFFFFFFFF)) >> U(27)]
        blocks &= blocks - U(1)
        px, py = mx - _BLOCK_X[block], my - _BLOCK_Y[block]
        _blend_block(buffer, block * U(_LANES), px, py, a, b, c, faintness, red, green, blue, depth)


@kernel(fastmath=_FAST)
def _gather(records, entries, first, count, batch):  # noqa: ANN001, ANN202
    """Copy records next to each other: cache misses overlap here, and would be waited for one by one later."""
    for k in range(count):
        i = entries[U(first + k)] & U(0xFFFFFFFF)
        for field in range(RECORD):
            batch[U(k), U(field)] = records[i, U(field)]


@kernel(fastmath=_FAST)
def _find_finished(buffer):  # noqa: ANN001, ANN202
    """Return the blocks in which no pixel takes more light, a bit each."""
    finished = 0
    for block in range(_BLOCKS):
        line = U(block * _LANES)
        lane = 0
        while lane < _LANES and buffer[line + U(lane)] < F(0):  # mostly one look: the first pixel still takes light
            lane += 1
        finished |= (1 << block) if lane == _LANES else 0
    return finished


@kernel(fastmath=_FAST)
def _blend_tile(records, entries, first, last, left, top, scratch):  # noqa: ANN001, ANN202
    batch, blocks, buffer = scratch
    buffer[:] = F(0)
    buffer[:_PIXELS] = F(1)
    finished = 0
    for start in range(first, last, _BATCH):
        count = min(_BATCH, last - start)
        _gather(records, entries, start, count, batch)
        _touched(batch, count, left, top, finished, blocks)
        for k in range(count):
            _blend_splat(batch, U(k), left, top, blocks[U(k)], buffer)
        finished = _find_finished(buffer)
        if finished == _ALL:
            return


@kernel(fastmath=_FAST)
def _finish(buffer):  # noqa: ANN001, ANN202
    """Turn what light is left into alpha, and the depth sum into the expected depth."""
    for pixel in range(_PIXELS):
        i = U(pixel)
        alpha = F(1) - abs(buffer[i])
        buffer[i] = alpha
        buffer[i + U(4 * _PIXELS)] /= max(alpha, _MIN_WEIGHT)


@kernel(fastmath=_FAST)
def _write_tile(buffer, left, top, image):  # noqa: ANN001, ANN202
    """Copy the blocks into the picture; alpha comes first in the buffer, and fourth in the picture."""
    whole = left + TILE <= image.shape[2]
    for channel in range(5):
        plane = (channel + 1) * _PIXELS if channel < 3 else (channel - 3) * 4 * _PIXELS
        c = U(channel)
        for row in range(min(TILE, image.shape[1] - top)):
            first = plane + (row >> 2) * (TILE // BLOCK) * _LANES + (row & 3) * BLOCK
            y = U(top + row)
            if whole:  # a fixed number of steps is unrolled
                for column in range(TILE):
                    image[c, y, U(left + column)] = buffer[U(first + (column >> 2) * _LANES + (column & 3))]
            else:
                for column in range(image.shape[2] - left):
                    image[c, y, U(left + column)] = buffer[U(first + (column >> 2) * _LANES + (column & 3))]


@kernel(fastmath=_FAST)
def blend(records, entries, offsets, columns, first, last, image):  # noqa: ANN001, ANN201
    """Draw tiles first..last-1 into ``image`` [5,H,W]: premultiplied colour, alpha, expected depth."""
    buffer = _aligned(5 * _PIXELS)
    batch = np.empty((_BATCH, RECORD), np.float32)
    scratch = batch, np.empty(_BATCH, np.uint64), buffer
    for tile in range(first, last):
        left, top = tile % columns * TILE, tile // columns * TILE
        _blend_tile(records, entries, offsets[tile], offsets[tile + 1], left, top, scratch)
        _finish(buffer)
        _write_tile(buffer, left, top, image)
