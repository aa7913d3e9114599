"""The records that travel through the pipeline, one type per arrow.

Parquet row -> Document -> Chunk -> ChunkBatch -> EmbeddedBatch -> rows in Milvus -> ledger
and from any stage -> DeadLetter
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embed_index.schemas.columns import canonical_json

CarriedValue: TypeAlias = str | int | float | bool | list[Any] | dict[str, Any] | None
"""A metadata value as Milvus stores it; None only where the collection's column holds null.

Lists and objects are what Milvus gives; on their way there they are canonical JSON text, which
hashes and compares as they do.
"""

TokenIds: TypeAlias = NDArray[np.int32]
Vectors: TypeAlias = NDArray[np.float32]
Words: TypeAlias = NDArray[np.uint64]
"""What a column holds as numbers below 2**32, of shape (number of rows, words of a row).

Rows of two batches are equal only if their words are, but for zeros at the end.
"""
Stage: TypeAlias = Literal["read", "chunk", "embed", "upsert"]
Boundary: TypeAlias = Literal[
    "end",
    "heading",
    "block",
    "blank_line",
    "list_item",
    "line",
    "sentence",
    "phrase",
    "wrapped_line",
    "white_space",
    "character",
]
"""Why a chunk ends where it does, from the strongest reason to the weakest."""

_NONE = -1
"""For the row group and the row of what is a whole file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """Where a document stands in the corpus."""

    path: str
    row_group: int
    row: int
    """Counted from 0 within the row group."""

    @classmethod
    def of_file(cls, path: str) -> Self:
        """Return what stands for a whole file: no row group and no row of it."""
        return cls(path=path, row_group=_NONE, row=_NONE)

    @property
    def is_file(self) -> bool:
        """Whether a whole file is meant."""
        return self.row_group == _NONE

    def __str__(self) -> str:
        return self.path if self.is_file else f"{self.path}#{self.row_group}:{self.row}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file of the corpus as it was read; every row of it was a document."""

    name: str
    num_bytes: int
    modified_ns: int
    digest: bytes | None
    """Of its bytes and of how they are read; None where none was made."""
    num_rows: int
    schema: bytes
    """Arrow's, serialised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One usable row of the corpus."""

    doc_id: str
    text: str
    carried: tuple[CarriedValue, ...]
    """In the order of the schema's carried columns."""
    source: SourceRow
    doc_hash: str
    """Content hash of the text, 32 hexadecimal digits."""
    about: str = ""
    """What the model sees before every chunk, beside the instruction: the prefix columns."""


def about_of(values: Iterable[CarriedValue]) -> str:
    """Return what a document is about by the values of its prefix columns, a line each."""
    told = (canonical_json(x) if isinstance(x, list | dict) else x for x in values)
    lines = (" ".join(str(value).split()) for value in told if value is not None)
    return "\n".join(line for line in lines if line)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSpan:
    """A stretch of a text together with what the model will see of it."""

    char_start: int
    char_end: int
    token_ids: TokenIds
    """Instruction, prefix, text and end token."""
    boundary: Boundary = "end"
    """Why it ends where it does."""
    prefix: str = ""
    """What the model sees between instruction and text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One unit of embedding: a span of one document."""

    chunk_id: str
    document: Document
    chunk_index: int
    num_chunks: int
    char_start: int
    char_end: int
    token_ids: TokenIds
    prefix: str = ""
    """What the model sees between instruction and text."""

    @property
    def text(self) -> str:
        """The chunk's own text, without instruction."""
        return self.document.text[self.char_start : self.char_end]

    @property
    def num_tokens(self) -> int:
        """Tokens the model sees: instruction, prefix, text and end token."""
        return int(self.token_ids.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkBatch:
    """Chunks that are embedded by one request."""

    chunks: tuple[Chunk, ...]

    @property
    def num_tokens(self) -> int:
        """Sum over the chunks."""
        return sum(chunk.num_tokens for chunk in self.chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedBatch:
    """Chunks with their vectors, ready for the collection."""

    chunks: tuple[Chunk, ...]
    vectors: Vectors
    """Shape (number of chunks, dimension); rows of unit length, in the chunks' order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A row, document or chunk that could not be indexed, and why."""

    source: SourceRow
    stage: Stage
    reason: str
    """A stable short code such as `null_text`, fit for grouping."""
    detail: str
    """What was wrong in words, without the document's text."""
    doc_id: str | None = None
    """None where the row has no usable id."""
    chunk_index: int | None = None
    attempts: int = 1
    """In this run, or summed over the runs where the ledger has it."""
