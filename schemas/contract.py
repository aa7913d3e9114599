"""The collection's contract: what anyone needs to query it correctly.

It is stored as JSON in the description of every collection version. Vectors made under two
contracts must never meet in one collection.
"""

import base64
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from embed_index.schemas.indexes import VectorType
from embed_index.schemas.records import Vectors

FORMAT_VERSION = 4
"""The newest that this program knows."""
TEXT_SEARCH_FORMAT = 2
"""That of collections with text search, which older programs would take for others'."""
PREFIX_FORMAT = 3
"""That of collections with prefixes, which older programs would go on with without them."""
HALF_VECTORS_FORMAT = 4
"""That of collections with vectors of two bytes a number, which older programs would misread."""
CANARY_DIMENSION = 64
"""Canary vectors are cut to this width, because the description must stay small."""


class Canary(BaseModel):
    """A fixed text and the vector that the collection's model gave it."""

    model_config = ConfigDict(frozen=True)

    text: str
    vector: str
    """Little-endian float32, base64, cut to at most `CANARY_DIMENSION` and normalised."""

    @classmethod
    def from_vector(cls, text: str, vector: Vectors) -> Self:
        """Cut and normalise a full vector of shape (dimension,)."""
        cut = vector[:CANARY_DIMENSION].astype(np.float32)
        cut = cut / np.linalg.norm(cut)
        return cls(text=text, vector=base64.b64encode(cut.astype("<f4").tobytes()).decode("ascii"))

    def to_vector(self) -> Vectors:
        """Return the unit vector of shape (at most `CANARY_DIMENSION`,)."""
        return np.frombuffer(base64.b64decode(self.vector), dtype="<f4").astype(np.float32)


class CollectionContract(BaseModel):
    """How the vectors of one collection version were made."""

    model_config = ConfigDict(frozen=True)

    format_version: int = 1
    collection_id: str
    """Random, drawn when the version is created; tells a recreated collection from the old one."""
    model: str
    model_revision: str
    tokenizer_fingerprint: str
    dimension: int
    normalised: bool = True
    dtype: str
    document_prompt: str
    """Put before every document's text; empty for none."""
    query_prompt: str
    """Put before every query's text."""
    max_tokens: int
    overlap_tokens: int
    splitter: int = 1
    """By which version of the rules texts were cut when this one was begun. What was written later
    may be cut by newer rules; each row says where its chunk begins and ends."""
    prefix_columns: tuple[str, ...] = ()
    """Carried columns whose values the model saw before the text of each chunk, a line each."""
    prefix_headings: bool = False
    """Whether it saw there the headings above the chunk, too."""
    carried_columns: tuple[str, ...]
    vector_type: VectorType = "float32"
    """How Milvus stores the vectors, and takes queries."""
    partition_key: str = ""
    """The carried column by which Milvus parts the rows; empty for none."""
    shards: int = 1
    """Channels by which a server takes rows."""
    text_analyzer: str = ""
    """How Milvus takes texts apart for searches by words; empty where there are none."""
    engine: str
    """Name and version of the embedding server, such as `sglang 0.5.23`."""
    canaries: tuple[Canary, ...] = ()

    @property
    def has_prefixes(self) -> bool:
        """Whether the model saw more of a document's chunk than its text."""
        return bool(self.prefix_columns) or self.prefix_headings

    def with_format(self) -> Self:
        """Return the same with the oldest format whose programs understand it."""
        needed = TEXT_SEARCH_FORMAT if self.text_analyzer else 1
        if self.has_prefixes:
            needed = PREFIX_FORMAT
        if self.vector_type != "float32":
            needed = HALF_VECTORS_FORMAT
        return self.model_copy(update={"format_version": needed})

    def differences(self, other: "CollectionContract") -> list[str]:
        """Name the fields that keep rows of the two apart, in field order.

        What may differ: the random id; the model's name, where its revision is the same, which
        says what it is; engine, precision and the canaries' bits, because every
        run compares the canaries' vectors; the query prompt, which stored vectors never saw; the
        carried columns, which are compared with their types; the splitter, because a chunk's vector
        is that of its text, wherever this was cut; and the format, which follows from all the
        others.
        """
        free = {"collection_id", "engine", "dtype", "canaries", "query_prompt", "carried_columns"}
        free |= {"format_version", "splitter"}
        if self.model_revision == other.model_revision:
            free.add("model")
        return [
            name
            for name in CollectionContract.model_fields
            if name not in free and getattr(self, name) != getattr(other, name)
        ]
