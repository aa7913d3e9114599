"""What there is to embed, in the few numbers that its time follows from. Arithmetic alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from embed_index.schemas.limits import MAX_CONTEXT_TOKENS

_SMALLEST_BIN = 16
BIN_ENDS = tuple(
    _SMALLEST_BIN << step for step in range((MAX_CONTEXT_TOKENS // _SMALLEST_BIN).bit_length())
)
"""The longest chunk of each bin of a histogram; each is twice the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Many chunks. Attention is quadratic in a chunk's length, so sums of two powers say it all."""

    num_chunks: float = 0
    num_tokens: float = 0
    sum_of_squares: float = 0
    """Of the chunks' lengths in tokens."""

    @classmethod
    def of_lengths(cls, lengths: NDArray[np.int64] | Sequence[int]) -> Self:
        """Return the workload of chunks of these lengths."""
        tokens = np.asarray(lengths, dtype=np.int64)
        return cls(
            num_chunks=tokens.size,
            num_tokens=int(tokens.sum()),
            sum_of_squares=int((tokens * tokens).sum()),
        )

    def __add__(self, other: "Workload") -> "Workload":
        return Workload(
            num_chunks=self.num_chunks + other.num_chunks,
            num_tokens=self.num_tokens + other.num_tokens,
            sum_of_squares=self.sum_of_squares + other.sum_of_squares,
        )


def bins_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each chunk in a histogram whose bins `BIN_ENDS` names."""
    return np.minimum(np.searchsorted(BIN_ENDS, lengths), len(BIN_ENDS) - 1)
