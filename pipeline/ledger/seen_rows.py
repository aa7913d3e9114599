"""A set of row ids at one bit each."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

RowIds: TypeAlias = NDArray[np.int64]

_BITS = np.uint8(1) << np.arange(8, dtype=np.uint8)


class SeenRows:
    """Row ids met so far; memory is one bit for each id up to the largest."""

    def __init__(self) -> None:
        self._bytes = np.zeros(1024, dtype=np.uint8)

    def contains(self, rows: RowIds) -> NDArray[np.bool_]:
        """Return for each row id whether it is in the set."""
        known = rows >> 3 < self._bytes.size
        places = np.where(known, rows >> 3, 0)
        is_set: NDArray[np.bool_] = (self._bytes[places] & _BITS[rows & 7]) != 0
        return is_set & known

    def add(self, rows: RowIds) -> NDArray[np.bool_]:
        """Add row ids; return for each whether this is its first appearance, here included."""
        first = ~self.contains(rows)
        unique, places = np.unique(rows, return_index=True)
        if unique.size < rows.size:
            leads = np.zeros(rows.size, dtype=np.bool_)
            leads[places] = True
            first &= leads
        if rows.size:
            self._grow(int(unique[-1]))
            np.bitwise_or.at(self._bytes, unique >> 3, _BITS[unique & 7])
        return first

    def __len__(self) -> int:
        return int(np.unpackbits(self._bytes).sum(dtype=np.int64))

    def _grow(self, row: int) -> None:
        needed = (row >> 3) + 1
        if needed > self._bytes.size:
            grown = np.zeros(max(needed, 2 * self._bytes.size), dtype=np.uint8)
            grown[: self._bytes.size] = self._bytes
            self._bytes = grown
