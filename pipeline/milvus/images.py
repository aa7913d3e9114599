"""A row of a collection as audits compare it: hashes in the place of text and metadata."""

from typing import NamedTuple

from embed_index.pipeline.milvus.rows import MAX_SOURCE_BYTES, MAX_TEXT_BYTES, cut_head, cut_tail
from embed_index.pipeline.milvus.stored import ChunkKey, StoredChunk
from embed_index.schemas.ids import carried_hash, chunk_id, text_hash
from embed_index.schemas.records import Chunk

_MAX_CHUNK_INDEX = 1 << 27
"""A document has no more characters, and so no more chunks."""


class RowImage(NamedTuple):
    """Everything of a row but its vector."""

    chunk_id: str
    doc_id: str
    chunk_index: int
    num_chunks: int
    char_start: int
    char_end: int
    num_tokens: int
    doc_hash: str
    text_hash: str
    """Of the text as Milvus holds it, which may be the beginning only."""
    text_complete: bool
    carried_hash: str
    source: str

    @property
    def text_key(self) -> tuple[str, ...]:
        """What rows of one document share only if their chunks have one text."""
        if self.text_complete:
            return (self.doc_id, self.text_hash)
        return self.place_key

    @property
    def place_key(self) -> tuple[str, ...]:
        """What rows share only if their chunks stand at one place of one text."""
        place = f"{self.char_start}-{self.char_end}"
        return (self.doc_id, self.text_hash, self.doc_hash, place)


def image_of_chunk(chunk: Chunk) -> RowImage:
    """Return the row that a chunk of the corpus calls for."""
    document = chunk.document
    text = cut_head(chunk.text, max_bytes=MAX_TEXT_BYTES)
    return RowImage(
        chunk_id=chunk.chunk_id,
        doc_id=document.doc_id,
        chunk_index=chunk.chunk_index,
        num_chunks=chunk.num_chunks,
        char_start=chunk.char_start,
        char_end=chunk.char_end,
        num_tokens=chunk.num_tokens,
        doc_hash=document.doc_hash,
        text_hash=text_hash(text),
        text_complete=len(text) == chunk.char_end - chunk.char_start,
        carried_hash=carried_hash(document.carried),
        source=cut_tail(str(document.source), max_bytes=MAX_SOURCE_BYTES),
    )


def image_of_stored(row: StoredChunk) -> RowImage:
    """Return a stored row, which must have been read with its text."""
    assert row.text is not None
    return RowImage(
        chunk_id=row.chunk_id,
        doc_id=row.doc_id,
        chunk_index=row.chunk_index,
        num_chunks=row.num_chunks,
        char_start=row.char_start,
        char_end=row.char_end,
        num_tokens=row.num_tokens,
        doc_hash=row.doc_hash,
        text_hash=text_hash(row.text),
        text_complete=row.text_complete,
        carried_hash=carried_hash(tuple(row.carried.values())),
        source=row.source,
    )


def is_ours(key: ChunkKey) -> bool:
    """Say whether a row's key is the one that its document and index give."""
    in_range = 0 <= key.chunk_index < _MAX_CHUNK_INDEX
    return in_range and key.chunk_id == chunk_id(key.doc_id, key.chunk_index)
