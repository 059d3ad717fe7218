"""Second pass: which splats touch which tile, in depth order."""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .projection import RECORD

TILE = 16
"""Edge of a tile in pixels."""

U = np.uint64
_SMALL = 24  # shorter lists are sorted by insertion
_DIGIT = 10  # bits per radix pass
_RANK = np.uint64(RECORD - 1)


@kernel()
def _tiles(records, i):  # noqa: ANN001, ANN202 - numba infers the types
    """Return the tile columns and rows that the splat's box touches, ends excluded."""
    x0, y0, x1, y1 = records[i, 10], records[i, 11], records[i, 12], records[i, 13]
    if x1 <= x0:
        return 0, 0, 0, 0
    return int(x0) >> 4, int(y0) >> 4, (int(x1) + 15) >> 4, (int(y1) + 15) >> 4


@kernel()
def accumulate(counts, offsets):  # noqa: ANN001, ANN201
    """Turn ``counts`` [chunks, tiles] into each chunk's first slot in each tile; fill ``offsets`` [tiles + 1].

    Chunks follow each other inside a tile, so the list of a tile does not depend on the number of chunks.
    """
    total = 0
    for tile in range(counts.shape[1]):
        offsets[tile] = total
        for chunk in range(counts.shape[0]):
            own = counts[U(chunk), U(tile)]
            counts[U(chunk), U(tile)] = total
            total += own
    offsets[counts.shape[1]] = total
    return total


@kernel()
def scatter(records, records_bits, first, last, columns, slots, entries):  # noqa: ANN001, ANN201
    """Write an entry (rank above, row below) per splat first..last-1 and tile; ``slots`` [tiles] move on."""
    for row in range(first, last):
        i = U(row)
        x0, y0, x1, y1 = _tiles(records, i)
        entry = (U(records_bits[i, _RANK]) << U(32)) | i
        for ty in range(y0, y1):
            for tx in range(x0, x1):
                tile = U(ty * columns + tx)
                entries[U(slots[tile])] = entry
                slots[tile] += 1


@kernel()
def _insertion_sort(entries, first, last):  # noqa: ANN001, ANN202
    for a in range(first + 1, last):
        value = entries[U(a)]
        b = a - 1
        while b >= first and entries[U(b)] > value:
            entries[U(b + 1)] = entries[U(b)]
            b -= 1
        entries[U(b + 1)] = value


@kernel()
def _radix_pass(source, source_first, target, target_first, count, base, shift, histogram):  # noqa: ANN001, ANN202
    """Order ``count`` entries by one digit of their rank above ``base``; entries of equal digit keep their order."""
    mask = U((1 << _DIGIT) - 1)
    histogram[:] = 0
    for k in range(count):
        histogram[(((source[U(source_first + k)] >> U(32)) - base) >> shift) & mask] += 1
    position = target_first
    for digit in range(histogram.shape[0]):
        own = histogram[U(digit)]
        histogram[U(digit)] = position
        position += own
    for k in range(count):
        value = source[U(source_first + k)]
        digit = (((value >> U(32)) - base) >> shift) & mask
        target[U(histogram[digit])] = value
        histogram[digit] += 1


@kernel()
def _radix_sort(entries, first, last, spare, histogram):  # noqa: ANN001, ANN202
    """Sort by the upper bits of the ranks' span, and put right by insertion what only lower bits tell apart."""
    nearest, farthest = entries[U(first)], entries[U(first)]
    for k in range(first, last):
        nearest, farthest = min(nearest, entries[U(k)]), max(farthest, entries[U(k)])
    base = nearest >> U(32)
    span = (farthest >> U(32)) - base
    shift, swapped = U(0), False
    while (span >> shift) >> U(2 * _DIGIT) > U(0):
        shift += U(1)
    rough, span = shift > U(0), span >> shift
    while span > U(0):
        if swapped:
            _radix_pass(spare, 0, entries, first, last - first, base, shift, histogram)
        else:
            _radix_pass(entries, first, spare, 0, last - first, base, shift, histogram)
        swapped = not swapped
        shift += U(_DIGIT)
        span >>= U(_DIGIT)
    if swapped:
        entries[first:last] = spare[: last - first]
    if rough:
        _insertion_sort(entries, first, last)


@kernel()
def sort(entries, offsets, first, last):  # noqa: ANN001, ANN201
    """Sort the entries of tiles first..last-1 by depth, then by row: the order depends on nothing else."""
    longest = 0
    for tile in range(first, last):
        longest = max(longest, offsets[tile + 1] - offsets[tile])
    spare = np.empty(longest, np.uint64)
    histogram = np.empty(1 << _DIGIT, np.int64)
    for tile in range(first, last):
        if offsets[tile + 1] - offsets[tile] <= _SMALL:
            _insertion_sort(entries, offsets[tile], offsets[tile + 1])
        else:
            _radix_sort(entries, offsets[tile], offsets[tile + 1], spare, histogram)
