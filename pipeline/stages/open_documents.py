"""Documents on their way: cut into chunks, counted until the last chunk is settled."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from embed_index.pipeline.ledger.entries import LedgerDocument, LedgerEntry, Refreshed
from embed_index.pipeline.model.splitter import Splitter
from embed_index.pipeline.stages.comparison import Change, Difference
from embed_index.schemas.ids import carried_hash, chunk_id, text_hash
from embed_index.schemas.records import Chunk, ChunkSpan, Document


@dataclass(slots=True, kw_only=True)
class OpenDocument:
    """A document some of whose chunks are not settled yet."""

    document: Document
    change: Change
    entry: LedgerEntry
    """As the ledger knew it before this run touched it."""
    chunks: tuple[Chunk, ...]
    """Emptied once the chunks are on their way."""
    num_chunks: int
    chunk_hashes: bytes
    refused: list[int] = field(default_factory=list)
    """Indexes of chunks that could not be embedded."""
    num_unsettled: int = 0

    def give_up(self, indexes: Collection[int]) -> None:
        """Leave out chunks that are known to be refused, before any is on its way."""
        self.refused.extend(indexes)
        self.chunks = tuple(chunk for chunk in self.chunks if chunk.chunk_index not in indexes)
        self.num_unsettled = len(self.chunks)

    def committed(self) -> LedgerDocument:
        """Return what the ledger is told once all of it is settled."""
        return LedgerDocument(
            doc_id=self.document.doc_id,
            doc_hash=self.document.doc_hash,
            carried_hash=carried_hash(self.document.carried),
            num_chunks=self.num_chunks,
            chunk_hashes=self.chunk_hashes,
            dead_chunks=tuple(self.refused),
        )

    def refreshed(self) -> Refreshed:
        """Return what the ledger is told once its rows are written with other metadata."""
        return Refreshed(
            doc_id=self.document.doc_id, carried_hash=carried_hash(self.document.carried)
        )

    def superfluous_chunk_ids(self) -> list[str]:
        """Return the ids that Milvus may hold for this document and must not."""
        beyond = range(self.num_chunks, self.entry.max_chunks)
        return [chunk_id(self.document.doc_id, index) for index in (*self.refused, *beyond)]


def cut_documents(
    documents: Sequence[Document],
    *,
    splitter: Splitter,
    known: Mapping[str, tuple[Chunk, ...]] | None = None,
) -> Iterator[tuple[Chunk, ...]]:
    """Yield the chunks of each document in order.

    Args:
        documents: Of different ids.
        splitter: Cuts them.
        known: By id, the chunks of documents that are cut already.
    """
    known = known or {}
    uncut = [document for document in documents if document.doc_id not in known]
    cut = splitter.split_all(
        [document.text for document in uncut], about=[document.about for document in uncut]
    )
    for document in documents:
        chunks = known.get(document.doc_id)
        yield chunks_of(document, tuple(next(cut))) if chunks is None else chunks


def chunks_of(document: Document, spans: Sequence[ChunkSpan]) -> tuple[Chunk, ...]:
    """Return the chunks that a document's spans are."""
    return tuple(
        Chunk(
            chunk_id=chunk_id(document.doc_id, index),
            document=document,
            chunk_index=index,
            num_chunks=len(spans),
            char_start=span.char_start,
            char_end=span.char_end,
            token_ids=span.token_ids,
            prefix=span.prefix,
        )
        for index, span in enumerate(spans)
    )


def join_hashes(chunks: Sequence[Chunk]) -> bytes:
    """Return the hashes of chunks one after the other, as the ledger keeps them.

    They are of prefix and text: chunks have one vector if these are one.
    """
    return b"".join(bytes.fromhex(text_hash(chunk.prefix + chunk.text)) for chunk in chunks)


def open_document(
    document: Document, chunks: tuple[Chunk, ...], *, difference: Difference
) -> OpenDocument:
    """Take up a document that is about to be written.

    Args:
        document: What it is now.
        chunks: All of its chunks.
        difference: How it differs from the ledger.
    """
    return OpenDocument(
        document=document,
        change=difference.change,
        entry=difference.entry,
        chunks=chunks,
        num_chunks=len(chunks),
        chunk_hashes=join_hashes(chunks),
        num_unsettled=len(chunks),
    )


class OpenDocuments:
    """The documents that have chunks in flight.

    One thread adds while another settles; a document is added before its first chunk is sent.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, OpenDocument] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, document: OpenDocument) -> None:
        """Wait for all chunks of a document."""
        self._by_id[document.document.doc_id] = document

    def settle(self, chunks: Iterable[Chunk]) -> list[OpenDocument]:
        """Count chunks that Milvus acknowledged; return the documents that are thereby whole."""
        return [whole for chunk in chunks if (whole := self._settle(chunk)) is not None]

    def refuse(self, chunk: Chunk) -> list[OpenDocument]:
        """Count a chunk that cannot be embedded; return its document if that was the last."""
        self._by_id[chunk.document.doc_id].refused.append(chunk.chunk_index)
        return self.settle([chunk])

    def _settle(self, chunk: Chunk) -> OpenDocument | None:
        document = self._by_id[chunk.document.doc_id]
        document.num_unsettled -= 1
        if document.num_unsettled:
            return None
        return self._by_id.pop(chunk.document.doc_id)
