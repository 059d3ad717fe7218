"""How the cells of a mask lie in memory for the compiled loops: in whole lines, without the empty space between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .bini_lanes import LINE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.uint64]


@dataclass(frozen=True)
class Blocks:
    """The stencil's rows cut into blocks of a line's width; those that touch the mask, one after the other.

    Block 0 and one after the last are empty: they stand for the neighbours that there are not. The cells to the left
    and to the right are next to each other in memory, or the links between them are 0.
    """

    lanes: int
    """Cells of a block."""
    cells: NDArray[np.int64]
    """The stencil's cell of every cell of the blocks from 1 to the last; 0, an empty one, for those beside the grid."""
    up: Places
    """For every block from 0 to the last, the first cell of the block above, 0 where there is none."""
    down: Places

    @classmethod
    def build(cls, inside: NDArray[np.bool_], kind: np.dtype) -> Blocks:
        """Lay out the cells ``inside``, whose border is empty, for numbers of a kind."""
        rows, width = inside.shape
        lanes = LINE // kind.itemsize
        columns = -(-width // lanes)
        padded = np.zeros((rows, columns * lanes), bool)
        padded[:, :width] = inside
        y, x = np.nonzero(padded.reshape(rows, columns, lanes).any(axis=2))
        first = np.zeros((rows, columns), np.uint64)
        first[y, x] = np.arange(1, len(y) + 1) * lanes
        column = (x * lanes)[:, None] + np.arange(lanes)
        cells = np.where(column < width, (y * width)[:, None] + column, 0)
        return cls(
            lanes, cells.ravel(), np.append(first[:1, 0], first[y - 1, x]), np.append(first[:1, 0], first[y + 1, x])
        )

    @property
    def count(self) -> int:
        """Cells of all blocks, the two empty ones included."""
        return (len(self.up) + 1) * self.lanes

    @cached_property
    def lead(self) -> int:
        """How many blocks ahead the loops must be so that the neighbours to the right and below are up to date."""
        return max(1, int((self.down.astype(np.int64) // self.lanes - np.arange(len(self.down))).max()))

    def zeros(self, kind: np.dtype | type = np.float64) -> NDArray[np.floating]:
        """Return a zero for every cell, the first at the start of a line."""
        size = self.count * np.dtype(kind).itemsize
        memory = np.zeros(size + LINE, np.uint8)
        begin = -memory.ctypes.data % LINE
        return memory[begin : begin + size].view(kind)

    def pack(self, values: NDArray[np.float64], into: NDArray[np.float64]) -> None:
        """Write the stencil's values block by block."""
        # All cells exist; only without that question does NumPy write in place.
        np.take(values, self.cells, out=into[self.lanes : -self.lanes], mode="clip")

    def packed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the stencil's values block by block."""
        found = self.zeros()
        self.pack(values, found)
        return found

    def unpacked(self, values: NDArray[np.floating], cells: int) -> NDArray[np.float64]:
        """Return values for the stencil's ``cells``, 0 for those in no block; beside the grid the values must be 0."""
        found = np.zeros(cells)
        found[self.cells] = values[self.lanes : -self.lanes]
        return found

    def lines(self) -> tuple[Places, tuple[Places, Places], tuple[Places, Places]]:
        """Return where lines of float64 begin, and their neighbours' behind and ahead, along x and along y."""
        parts = np.arange(0, self.lanes, LINE // 8, dtype=np.uint64)
        blocks = np.arange(len(self.up), dtype=np.uint64) * np.uint64(self.lanes)
        first, up, down = ((each[1:, None] + parts).ravel() for each in (blocks, self.up, self.down))
        return first, (first - np.uint64(1), first + np.uint64(1)), (up, down)
