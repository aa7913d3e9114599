"""Vectors that the collection already holds for chunks that are about to be written again."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias, TypeGuard

import numpy as np

from embed_index.pipeline.ledger.entries import CHUNK_HASH_BYTES
from embed_index.pipeline.milvus.images import RowImage, image_of_chunk, image_of_stored, is_ours
from embed_index.pipeline.milvus.rows import NORM_TOLERANCE
from embed_index.pipeline.stages.open_documents import OpenDocument
from embed_index.pipeline.stages.store import ChunkReader
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.ids import carried_hash, chunk_id
from embed_index.schemas.records import Chunk, EmbeddedBatch, Vectors, about_of

VectorFinder: TypeAlias = Callable[[Sequence[OpenDocument]], dict[str, Vectors]]
"""Returns, by new chunk id, the vectors that need not be made again."""

_BATCH_CHUNKS = 512


class CommittedHashes(Protocol):
    """What reuse needs of the ledger."""

    def chunk_hashes(self, doc_id: str) -> list[bytes]:
        """Return the text hash of each committed chunk in order."""


def find_vectors(
    documents: Sequence[OpenDocument],
    *,
    reader: ChunkReader,
    version: str,
    ledger: CommittedHashes,
    contract: CollectionContract,
) -> dict[str, Vectors]:
    """Return a vector by new chunk id for every chunk whose text the collection already embeds.

    A stored row counts only if it belongs to the very text that the ledger committed: what an
    interrupted run wrote over it has another document hash. The documents' ledger entries must be
    as they were before this run began them. A ledger that was rebuilt from rows that do not hold
    their whole text, or not what stood before it, has no hashes of chunks; the same place in the
    same document will do then.
    """
    old_ids: dict[str, str] = {}
    committed: dict[str, str] = {}
    places: dict[str, tuple[int, int]] = {}
    for document in documents:
        if document.entry.doc_hash is None:
            continue
        old_index = {
            text_hash: index
            for index, text_hash in enumerate(ledger.chunk_hashes(document.document.doc_id))
        }
        if not old_index and _is_same(document, contract=contract):
            for chunk in document.chunks:
                old_ids[chunk.chunk_id] = chunk.chunk_id
                committed[chunk.chunk_id] = document.entry.doc_hash
                places[chunk.chunk_id] = (chunk.char_start, chunk.char_end)
            continue
        hashes = _hashes(document)
        for chunk in document.chunks:
            if (index := old_index.get(hashes[chunk.chunk_index])) is not None:
                old_ids[chunk.chunk_id] = chunk_id(document.document.doc_id, index)
                committed[chunk.chunk_id] = document.entry.doc_hash
    if not old_ids:
        return {}
    stored = reader.fetch_chunks(version, old_ids.values(), with_vectors=True)
    vectors: dict[str, Vectors] = {}
    for new_id, old_id in old_ids.items():
        row = stored.get(old_id)
        if row is None or row.doc_hash != committed[new_id]:
            continue
        place = (row.char_start, row.char_end)
        if is_unit(row.vector) and places.get(new_id, place) == place:
            vectors[new_id] = row.vector
    return vectors


def find_vectors_by_text(
    documents: Sequence[OpenDocument],
    *,
    reader: ChunkReader,
    version: str,
    contract: CollectionContract,
    find_untrusted: Callable[[Collection[str]], Collection[str]] = lambda _: (),
) -> dict[str, Vectors]:
    """Return a vector by chunk id for every chunk whose text the document's rows hold.

    For what the ledger does not know or does not know rightly: every row's own text is read and
    compared. A text that Milvus could not hold whole must also be of the same document's text, and
    at the same place in it. So must one of a collection with prefixes, of the same values.

    Args:
        documents: What is about to be written.
        reader: Of the collection.
        version: The collection version.
        contract: Of that version.
        find_untrusted: Returns those of some chunk ids whose stored vectors are wrong.
    """
    ids = [chunk.chunk_id for document in documents for chunk in document.chunks]
    if not ids:
        return {}
    untrusted = set(find_untrusted(ids))
    stored = reader.fetch_chunks(version, ids, with_text=True, with_vectors=True)
    known: dict[tuple[str, ...], Vectors] = {}
    for row in stored.values():
        if row.chunk_id not in untrusted and is_ours(row.key) and is_unit(row.vector):
            about = about_of(row.carried[name] for name in contract.prefix_columns)
            known[_key(image_of_stored(row), about, contract=contract)] = row.vector
    wanted = {
        chunk.chunk_id: _key(image_of_chunk(chunk), chunk.document.about, contract=contract)
        for document in documents
        for chunk in document.chunks
    }
    return {chunk_id: known[key] for chunk_id, key in wanted.items() if key in known}


def or_kept(
    find: VectorFinder, find_kept: Callable[[Iterable[Chunk]], dict[str, Vectors]]
) -> VectorFinder:
    """Look for what is not found also among vectors that are kept elsewhere."""

    def find_both(documents: Sequence[OpenDocument]) -> dict[str, Vectors]:
        found = find(documents)
        chunks = (chunk for document in documents for chunk in document.chunks)
        return find_kept(chunk for chunk in chunks if chunk.chunk_id not in found) | found

    return find_both


def is_unit(vector: Vectors | None) -> TypeGuard[Vectors]:
    """Say whether a stored vector can be written again; Milvus gives back what it was given."""
    if vector is None:
        return False
    return abs(float(np.linalg.norm(vector.astype(np.float64))) - 1.0) <= NORM_TOLERANCE


def batch_reused(chunks: Sequence[Chunk], vectors: dict[str, Vectors]) -> Iterator[EmbeddedBatch]:
    """Group chunks with the vectors found for them."""
    for start in range(0, len(chunks), _BATCH_CHUNKS):
        part = tuple(chunks[start : start + _BATCH_CHUNKS])
        stacked = np.stack([vectors[chunk.chunk_id] for chunk in part])
        yield EmbeddedBatch(chunks=part, vectors=stacked)


def _is_same(document: OpenDocument, *, contract: CollectionContract) -> bool:
    """Say whether the ledger committed this text, with these values before it."""
    if contract.prefix_columns and document.entry.carried_hash != carried_hash(
        document.document.carried
    ):
        return False
    return document.entry.doc_hash == document.document.doc_hash


def _key(image: RowImage, about: str, *, contract: CollectionContract) -> tuple[str, ...]:
    """Return what rows of one document share only if the model sees the same of them."""
    return (*image.place_key, about) if contract.has_prefixes else image.text_key


def _hashes(document: OpenDocument) -> list[bytes]:
    joined = document.chunk_hashes
    return [
        joined[start : start + CHUNK_HASH_BYTES]
        for start in range(0, len(joined), CHUNK_HASH_BYTES)
    ]
