"""Keys under which Milvus holds more than one row.

Reading shows one row a key, whereas counting counts all: where both differ, the key space is
halved until single keys are left.
"""

from collections.abc import Iterator
from typing import Protocol

from embed_index.pipeline.audit.notes import AuditNotes
from embed_index.pipeline.milvus.filters import KeyRange, cut_key_space

_COUNT_ONE_BY_ONE = 4


class RowCounter(Protocol):
    """What the search for duplicates needs of the collection."""

    def count_range(self, version: str, keys: KeyRange) -> int:
        """Count the rows whose keys are in a range."""

    def count_key(self, version: str, chunk_id: str) -> int:
        """Count the rows of one key."""


def find_duplicates(notes: AuditNotes, *, reader: RowCounter, version: str) -> Iterator[str]:
    """Yield the keys that have more than one row.

    Args:
        notes: Hold every key of the version.
        reader: Of the collection.
        version: The collection version; nobody writes to it.
    """
    pending = cut_key_space(1)
    while pending:
        keys = pending.pop()
        low, high = keys.bounds
        num_keys = notes.num_keys(low=low, high=high)
        if not num_keys or reader.count_range(version, keys) <= num_keys:
            continue
        halves = keys.halves() if num_keys > _COUNT_ONE_BY_ONE else None
        if halves is not None:
            pending.extend(halves)
            continue
        for key in notes.keys(low=low, high=high):
            if reader.count_key(version, key) > 1:
                yield key
