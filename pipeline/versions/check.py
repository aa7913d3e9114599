"""Whether a collection version can be searched and holds what the ledger says, and no more."""

from collections.abc import Iterator
from itertools import islice

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerEntry
from embed_index.pipeline.milvus.reader import CollectionReader
from embed_index.schemas.ids import chunk_id
from embed_index.schemas.records import Vectors

NUM_SAMPLES = 32

_SAME_DIRECTION = 0.9999
"""Cosine from which two stored vectors are equal; scores carry float32's error."""
_SEARCH_LIMITS = (4, 256)
"""The wide search is for an approximate index that overlooked a row in the narrow one."""
_PENDING_PER_STEP = 256


def find_fault(
    reader: CollectionReader, documents: DocumentLedger, *, num_samples: int = NUM_SAMPLES
) -> str:
    """Say what is wrong with a version that nobody writes to; empty for nothing.

    Rows are counted with a strong read, and some stored chunks are searched by their own vectors.

    Raises:
        StoreError: Milvus stays away.
    """
    return _miscount(reader, documents) or _lost_in_search(
        reader, documents, num_samples=num_samples
    )


def _miscount(reader: CollectionReader, documents: DocumentLedger) -> str:
    num_rows = reader.count(documents.version)
    num_expected = documents.counts().num_chunks + _count_pending(reader, documents)
    if num_rows == num_expected:
        return ""
    return f"it has {num_rows:,} rows, and the ledger's documents have {num_expected:,} chunks"


def _count_pending(reader: CollectionReader, documents: DocumentLedger) -> int:
    """Count the rows of documents that were begun, and not committed."""
    pending = documents.pending()
    num_rows = 0
    while step := list(islice(pending, _PENDING_PER_STEP)):
        keys = [chunk_id(entry.doc_id, i) for entry in step for i in range(entry.max_chunks)]
        num_rows += len(reader.fetch_vectors(documents.version, keys))
    return num_rows


def _lost_in_search(
    reader: CollectionReader, documents: DocumentLedger, *, num_samples: int
) -> str:
    version = documents.version
    owners = {
        chunk_id(entry.doc_id, index): (entry.doc_id, index)
        for place, entry in enumerate(documents.sample(num_samples))
        for index in _one_living(documents, entry, place=place)
    }
    vectors = reader.fetch_vectors(version, owners)
    for key, (doc_id, index) in owners.items():
        named = f"chunk {index} of document {doc_id!r}"
        if key not in vectors:
            return f"{named} is in the ledger and not in it"
        if not _finds_itself(reader, version, key=key, vector=vectors[key]):
            return f"a search with the vector of {named} does not find it"
    return ""


def _one_living(documents: DocumentLedger, entry: LedgerEntry, *, place: int) -> Iterator[int]:
    """Yield the index of one chunk, nothing if all are dead."""
    dead = documents.dead_chunks(entry.doc_id)
    if living := [index for index in range(entry.num_chunks) if index not in dead]:
        yield living[place % len(living)]


def _finds_itself(reader: CollectionReader, version: str, *, key: str, vector: Vectors) -> bool:
    for limit in _SEARCH_LIMITS:
        hits = reader.search(version, vector, limit=limit, consistency="Strong")
        if hits and (hits[0].chunk.chunk_id == key or hits[0].score >= _SAME_DIRECTION):
            return True
    return False
