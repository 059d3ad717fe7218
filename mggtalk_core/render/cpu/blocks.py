"""What both directions of the third pass share: tiles of 4 x 4 blocks, and the splats that come to them in batches."""

from __future__ import annotations

import numpy as np

from .. import splatting as rule
from .binning import TILE
from .jit import kernel
from .prefetch import prefetch
from .projection import RECORD

BLOCK = 4
"""A tile is 4 x 4 blocks of 4 x 4 pixels: a block is one vector, and most splats touch few blocks."""
LANES = BLOCK * BLOCK
BLOCKS = (TILE // BLOCK) ** 2
BATCH = 32
"""Splats between two looks at which blocks are finished."""

F = np.float32
U = np.uint64
FAST = {"contract", "arcp", "nsz", "reassoc"}
MAX_ALPHA, MIN_TRANSMITTANCE, MIN_WEIGHT = F(rule.MAX_ALPHA), F(rule.MIN_TRANSMITTANCE), F(rule.MIN_WEIGHT)
REACH = F(-np.log(rule.MIN_ALPHA))
"""-ln alpha of the faintest splat that is drawn."""
LANE_X = np.arange(LANES, dtype=np.float32) % BLOCK
LANE_Y = np.arange(LANES, dtype=np.float32) // BLOCK
BLOCK_X = np.arange(BLOCKS, dtype=np.float32) % (TILE // BLOCK) * F(BLOCK)
BLOCK_Y = np.arange(BLOCKS, dtype=np.float32) // (TILE // BLOCK) * F(BLOCK)
DE_BRUIJN = 0x077CB531
"""Times 2^k, its upper 5 of 32 bits differ for every k: they find the ``PLACE`` of a lone bit."""
PLACE = np.zeros(32, np.uint64)
PLACE[[((DE_BRUIJN << k) & 0xFFFFFFFF) >> 27 for k in range(32)]] = np.arange(32)
_COLUMN, _ROW = 0x1111, 0xF  # the blocks of the first column and of the first row, a bit each


def _exponential() -> tuple[np.float32, ...]:
    """Fit exp(-s/8) on 0..5.6 by a polynomial of degree 5; its eighth power is exp(-s) to 1e-6."""
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(lambda s: np.exp(-s / 8), 5, domain=[0, 5.6])
    return tuple(F(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


EXPONENTIAL = _exponential()


@kernel()
def aligned(size):  # noqa: ANN001, ANN201 - numba infers the types
    """Return zeros that start at a cache line: a vector across two lines costs two accesses."""
    memory = np.zeros(size + 16, np.float32)
    start = (64 - (memory.ctypes.data & 63)) // 4 % 16
    return memory[start : start + size]


@kernel(fastmath=FAST)
def gather(records, entries, first, count, batch):  # noqa: ANN001, ANN201
    """Copy the records of a batch next to each other, and ask for those of the next one, which are all over memory."""
    for k in range(count):
        i = entries[U(first + k)] & U(0xFFFFFFFF)
        for field in range(RECORD):
            batch[U(k), U(field)] = records[i, U(field)]
    for k in range(first + count, min(first + count + BATCH, entries.size)):
        prefetch(records, entries[U(k)] & U(0xFFFFFFFF))


@kernel(fastmath=FAST)
def touched(splats, count, left, top, finished, blocks):  # noqa: ANN001, ANN201
    """Find the unfinished blocks that each splat touches, a bit each: those of its box, without corners that it misses.

    Two nested loops over a few blocks would take longer: the processor guesses their ends wrong each time.
    """
    for row in range(count):
        i = U(row)
        x0, y0 = max(int(splats[i, 10]) - left, 0) >> 2, max(int(splats[i, 11]) - top, 0) >> 2
        x1, y1 = (min(int(splats[i, 12]) - left, TILE) + 3) >> 2, (min(int(splats[i, 13]) - top, TILE) + 3) >> 2
        wide = ((1 << x1) - (1 << x0)) * _COLUMN
        high = (1 << (4 * y1)) - (1 << (4 * y0))
        # The sides of the box, as far as they are in this tile, and where two of them meet.
        west = (_COLUMN << x0) if splats[i, 10] >= F(left) else 0
        east = (_COLUMN << x1 >> 1) if splats[i, 12] <= F(left + TILE) else 0
        north = (_ROW << (4 * y0)) if splats[i, 11] >= F(top) else 0
        south = (_ROW << (4 * y1) >> 4) if splats[i, 13] <= F(top + TILE) else 0
        missed = int(splats[i, 14])
        corners = (west & north & -(missed & 1)) | (east & north & -(missed >> 1 & 1))
        corners |= (west & south & -(missed >> 2 & 1)) | (east & south & -(missed >> 3))
        blocks[i] = U(wide & high & ~finished & ~corners)


@kernel(fastmath=FAST)
def find_finished(buffer, line):  # noqa: ANN001, ANN201
    """Return the blocks in which no pixel takes more light, a bit each; a block begins every ``line`` numbers."""
    finished = 0
    for block in range(BLOCKS):
        first = U(block * line)
        lane = 0
        while lane < LANES and buffer[first + U(lane)] < F(0):  # mostly one look: the first pixel still takes light
            lane += 1
        finished |= (1 << block) if lane == LANES else 0
    return finished
