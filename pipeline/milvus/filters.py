"""Filter expressions over primary keys, and the key space cut into pages.

Chunk ids are hexadecimal digests, spread evenly, so that equal ranges hold equal numbers of rows.
Milvus Lite returns limited results in no order, which rules out paging by the last key seen; its
own iterator and the server's get slower with every page or see another moment's rows.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

MAX_KEYS_PER_REQUEST = 1000

_PREFIX_DIGITS = 8
_KEY_SPACE = 16**_PREFIX_DIGITS


@dataclass(frozen=True, slots=True)
class KeyRange:
    """All keys from one prefix up to another; the outermost ranges are open."""

    low: int
    high: int

    @property
    def bounds(self) -> tuple[str | None, str | None]:
        """The first key and the one after the last; None where the range is open."""
        low = _prefix(self.low) if self.low > 0 else None
        high = _prefix(self.high) if self.high < _KEY_SPACE else None
        return low, high

    @property
    def filter(self) -> str:
        """The filter expression for the keys in the range."""
        low, high = self.bounds
        bounds = []
        if low is not None:
            bounds.append(f"chunk_id >= {_quote(low)}")
        if high is not None:
            bounds.append(f"chunk_id < {_quote(high)}")
        return " and ".join(bounds) or 'chunk_id >= ""'

    def split(self, share: float) -> tuple[Self, Self | None]:
        """Return so much of the whole key space from the front, and the rest; None for none."""
        middle = self.low + max(1, int(share * _KEY_SPACE))
        if middle >= self.high:
            return self, None
        return type(self)(self.low, middle), type(self)(middle, self.high)

    def halves(self) -> tuple[Self, Self] | None:
        """Return the range in two parts; None where it is too narrow."""
        middle = (self.low + self.high) // 2
        if middle == self.low:
            return None
        return type(self)(self.low, middle), type(self)(middle, self.high)


def first_keys(share: float) -> KeyRange:
    """Return the first part of the key space, 1.0 for all keys there can be."""
    return KeyRange(0, round(_KEY_SPACE * share))


def cut_key_space(num_ranges: int) -> list[KeyRange]:
    """Return equal ranges, in order, that together hold every key there can be."""
    num_ranges = max(num_ranges, 1)
    bounds = [index * _KEY_SPACE // num_ranges for index in range(num_ranges + 1)]
    return [KeyRange(low, high) for low, high in itertools.pairwise(bounds)]


def any_of(chunk_ids: Sequence[str]) -> str:
    """Return the filter expression for these keys, whatever characters they hold."""
    return f"chunk_id in [{','.join(_quote(chunk_id) for chunk_id in chunk_ids)}]"


def of_document(doc_id: str) -> str:
    """Return the filter expression for the chunks of a document, whatever its id holds."""
    return f"doc_id == {_quote(doc_id)}"


def in_slices(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Return the keys in runs of at most `size`."""
    return (keys[start : start + size] for start in range(0, len(keys), size))


def _prefix(bound: int) -> str:
    return f"{bound:0{_PREFIX_DIGITS}x}"


def _quote(value: str) -> str:
    # Milvus reads JSON's short escapes and does not know \uXXXX.
    return json.dumps(value, ensure_ascii=False)
