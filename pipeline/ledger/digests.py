"""Digests of many documents at once, in a few passes over arrays.

A digest is four times the upper half of a sum of products, words of the document by numbers drawn
at random (the multilinear hash of Lemire and Kaser, "Strongly universal string hashing is fast",
2014). Two documents that differ get the same one with a chance of 2**-128, whatever they are, as
long as nobody who makes documents knows the numbers. So these come from a seed of the ledger's own.
"""

import hashlib
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from embed_index.schemas.records import Words

Digests: TypeAlias = NDArray[np.uint64]
"""Shape (number of documents, 2)."""

_NUM_SUMS = 4


class DocumentDigester:
    """Makes the digests of one ledger's documents."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._drawn: dict[int, NDArray[np.uint64]] = {}

    def digest(self, columns: Iterable[Words]) -> Digests:
        """Return the digest of each row; zeros at the end of a column do not count."""
        sums: NDArray[np.uint64] = np.zeros((1, _NUM_SUMS), dtype=np.uint64)
        for place, words in enumerate(columns):
            sums = sums + words @ self._numbers(place, count=words.shape[1])
        return np.ascontiguousarray((sums >> 32).astype("<u4")).view("<u8").astype(np.uint64)

    def _numbers(self, column: int, *, count: int) -> NDArray[np.uint64]:
        drawn = self._drawn.get(column)
        if drawn is None or len(drawn) < count:
            name = self._seed + column.to_bytes(8, "little")
            # Asked for more, it gives the same ones first.
            raw = hashlib.shake_256(name).digest(8 * _NUM_SUMS * count)
            drawn = np.frombuffer(raw, dtype="<u8").reshape(count, _NUM_SUMS).astype(np.uint64)
            self._drawn[column] = drawn
        return drawn[:count]
