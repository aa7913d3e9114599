"""The records that come back from a collection."""

from dataclasses import dataclass, replace

from embed_index.schemas.records import CarriedValue, Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkKey:
    """What tells whether a stored chunk is the one that the corpus calls for."""

    chunk_id: str
    doc_id: str
    chunk_index: int
    num_chunks: int
    doc_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChunk:
    """One row of a collection."""

    chunk_id: str
    doc_id: str
    chunk_index: int
    num_chunks: int
    char_start: int
    char_end: int
    num_tokens: int
    doc_hash: str
    text_complete: bool
    source: str
    """Where the document stood when the row was written. It may stand elsewhere by now, so that the
    whole text is found by `doc_id`."""
    carried: dict[str, CarriedValue]
    """By column name, in the order of the collection's schema."""
    text: str | None = None
    """None where it was not asked for."""
    vector: Vectors | None = None
    """Shape (dimension,); None where it was not asked for."""

    def without_content(self) -> "StoredChunk":
        """Return the row without what takes room: text, vector and carried columns."""
        return replace(self, text=None, vector=None, carried={})

    @property
    def key(self) -> ChunkKey:
        """The part of the row that audits compare."""
        return ChunkKey(
            chunk_id=self.chunk_id,
            doc_id=self.doc_id,
            chunk_index=self.chunk_index,
            num_chunks=self.num_chunks,
            doc_hash=self.doc_hash,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One chunk that a query found."""

    score: float
    """Cosine similarity, 1 for the same direction; BM25 where words were searched for, and for a
    hybrid search the sum of both rankings."""
    version: str
    """The collection version that it was found in."""
    chunk: StoredChunk
    """With what was asked for of text, vector and carried columns."""

    @property
    def doc_id(self) -> str:
        """The document."""
        return self.chunk.doc_id

    @property
    def chunk_index(self) -> int:
        """Which chunk of the document, from 0."""
        return self.chunk.chunk_index

    @property
    def char_start(self) -> int:
        """Where the chunk begins in the document, in characters."""
        return self.chunk.char_start

    @property
    def char_end(self) -> int:
        """Where it ends, exclusive."""
        return self.chunk.char_end

    @property
    def text(self) -> str | None:
        """The chunk's text, cut where `chunk.text_complete` is false; None if not asked for."""
        return self.chunk.text

    @property
    def text_complete(self) -> bool:
        """Whether Milvus holds the chunk's whole text, so that all of its words can be found."""
        return self.chunk.text_complete

    @property
    def carried(self) -> dict[str, CarriedValue]:
        """The carried columns, by name."""
        return self.chunk.carried
