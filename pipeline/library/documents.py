"""A document put together again, from its chunks or from the corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embed_index.pipeline.milvus.reader import CollectionReader
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.schemas.errors import ConfigurationError, QueryError
from embed_index.schemas.ids import chunk_id, text_hash
from embed_index.schemas.records import CarriedValue

if TYPE_CHECKING:
    # Reading Parquet takes as long to import as a search takes, and few read whole texts.
    from embed_index.pipeline.corpus.lookup import CorpusPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document as it was indexed."""

    doc_id: str
    text: str
    carried: dict[str, CarriedValue]
    num_chunks: int
    source: str
    """Where it stood when it was indexed: file, row group and row."""
    version: str
    """The collection version that holds it."""


def read_document(
    reader: CollectionReader, version: str, doc_id: str, *, corpus: "CorpusPlace | None"
) -> Document:
    """Return a document with its whole text, proven by its content hash.

    Args:
        reader: Reads the version.
        version: The collection version.
        doc_id: The document.
        corpus: Where its text is looked for when chunks do not hold all of it; None for nowhere.

    Raises:
        QueryError: There is no such document.
        ConfigurationError: Its chunks do not hold the whole text, and the corpus is not at hand or
            holds another one.
        StoreError: Milvus stays away.
    """
    chunks = reader.fetch_document(version, doc_id)
    if not chunks:
        raise QueryError(
            f"{version!r} holds no document {doc_id!r}",
            remedy="Ids are case-sensitive; a document whose row was refused is a dead letter.",
        )
    first = chunks[0]
    text = _joined(chunks)
    if text is None or text_hash(text) != first.doc_hash:
        text = _from_corpus(first, chunks, corpus=corpus)
    return Document(
        doc_id=doc_id,
        text=text,
        carried=first.carried,
        num_chunks=first.num_chunks,
        source=first.source,
        version=version,
    )


def read_neighbours(
    reader: CollectionReader, version: str, chunk: StoredChunk, *, before: int, after: int
) -> tuple[StoredChunk, ...]:
    """Return a chunk with those around it in its document, in order.

    Raises:
        QueryError: The document was indexed anew since, or a count is negative.
        StoreError: Milvus stays away.
    """
    if before < 0 or after < 0:
        raise QueryError(f"before ({before}) and after ({after}) must not be negative")
    first = max(chunk.chunk_index - before, 0)
    last = min(chunk.chunk_index + after, chunk.num_chunks - 1)
    keys = [chunk_id(chunk.doc_id, index) for index in range(first, last + 1)]
    found = tuple(reader.fetch_chunks(version, keys, with_text=True).values())
    if any(other.doc_hash != chunk.doc_hash for other in found) or not found:
        raise QueryError(
            f"document {chunk.doc_id!r} was indexed anew since this hit", remedy="Search again."
        )
    return found


def _joined(chunks: Sequence[StoredChunk]) -> str | None:
    """Return the text that chunks make together, None where some of it is missing.

    Chunks may overlap, and one that could not be embedded is not there.
    """
    parts: list[str] = []
    end = 0
    for chunk in chunks:
        if not chunk.text_complete or chunk.text is None or chunk.char_start > end:
            return None
        parts.append(chunk.text[end - chunk.char_start :])
        end = max(end, chunk.char_end)
    return "".join(parts)


def _from_corpus(
    first: StoredChunk, chunks: Sequence[StoredChunk], *, corpus: "CorpusPlace | None"
) -> str:
    num_cut = sum(not chunk.text_complete for chunk in chunks)
    lacking = (
        f"{num_cut} of the {first.num_chunks} chunks of document {first.doc_id!r} are longer than"
        " Milvus holds"
        if num_cut
        else f"some of the {first.num_chunks} chunks of document {first.doc_id!r} are not there"
    )
    if corpus is None:
        raise ConfigurationError(
            f"{lacking}, and the corpus is not known here",
            remedy=f"Open the collection with the job file or with input=…; it stood at"
            f" {first.source}.",
        )
    from embed_index.pipeline.corpus.lookup import find_text

    text = find_text(corpus, doc_id=first.doc_id, doc_hash=first.doc_hash, stood_at=first.source)
    if text is None:
        raise ConfigurationError(
            f"{lacking}, and the corpus does not have its text as it was indexed",
            remedy="It was changed or taken away since; the next run brings the collection in"
            " step.",
        )
    return text
