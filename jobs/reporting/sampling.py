"""What a report tells of the collection itself: a sample of its chunks, and how it was made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from embed_index.jobs.adapters.places import existing_ledger, open_existing_store
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.retry import OutagePolicy
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.pipeline.milvus.versions import LiveVersion
from embed_index.pipeline.report.contents import Lengths, StoredPart
from embed_index.pipeline.report.map import (
    ChunkMap,
    MappedChunk,
    choose_column,
    draw_map,
    excerpt,
)
from embed_index.pipeline.versions.precisions import find_precisions
from embed_index.schemas.columns import canonical_json
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import CarriedValue, Vectors
from embed_index.schemas.settings import JobSettings

_PATIENCE = OutagePolicy(retry_seconds=10.0, doubt_seconds=5.0)
_BYTES_PER_FLOAT = 4
_MAX_VALUE_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionLook:
    """What was seen of the live version of a collection."""

    version: str
    made_with: Mapping[str, str]
    lengths: Lengths
    map: ChunkMap
    stored: tuple[StoredPart, ...]


def look_at_collection(
    settings: JobSettings, *, color_by: str, num_chunks: int, with_texts: bool
) -> CollectionLook:
    """Read a sample of the live version.

    Args:
        settings: Name the collection and its Milvus.
        color_by: The carried column that colours the map; empty chooses one that is fit.
        num_chunks: About so many chunks are read, or all.
        with_texts: Whether the map tells texts and ids.

    Raises:
        ConfigurationError: There is no such collection, or no such column.
        StoreError: Milvus stays away.
    """
    collection = settings.collection
    with open_existing_store(settings, collection, retry=_PATIENCE) as store:
        found = store.versions.find(collection)
        contract, version = found.contract, found.name
        names = [column.name for column in found.layout.carried]
        if color_by and color_by not in names:
            carried = ", ".join(names) or "none"
            raise ConfigurationError(
                f"{version} carries no column {color_by!r}",
                remedy=f"Carried are: {carried}. `carry` in the job file adds to them.",
            )
        sample = _read_sample(store, version, num_chunks=num_chunks)
        num_rows = store.reader.count(version)
        stored = (
            StoredPart(
                name="vectors",
                num_bytes=num_rows * contract.dimension * _BYTES_PER_FLOAT,
                basis="computed",
                where="milvus",
            ),
            StoredPart(
                name="texts before compression",
                num_bytes=round(num_rows * sample.mean_text_bytes),
                basis="estimated",
                where="milvus",
            ),
            _other_versions(store, collection, live=version),
        )
    column = color_by or choose_column(sample.values)
    values = sample.values.get(column, [None] * len(sample.chunks))
    chunks = [
        MappedChunk(
            doc_id=chunk.doc_id,
            chunk_index=chunk.chunk_index,
            num_chunks=chunk.num_chunks,
            num_tokens=chunk.num_tokens,
            text=text,
            value=value,
        )
        for chunk, text, value in zip(sample.chunks, sample.texts, values, strict=True)
    ]
    return CollectionLook(
        version=version,
        made_with=_in_words(contract, precisions=_precisions(settings, found)),
        lengths=Lengths(
            num_tokens=tuple(chunk.num_tokens for chunk in chunks), max_tokens=contract.max_tokens
        ),
        map=draw_map(
            chunks, sample.vectors, column=column, num_rows=num_rows, with_texts=with_texts
        ),
        stored=stored,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    chunks: list[StoredChunk]
    """Without texts and vectors."""
    texts: list[str]
    """Their beginnings."""
    mean_text_bytes: float
    vectors: Vectors
    values: dict[str, list[CarriedValue]]
    """By carried column."""


def _read_sample(store: MilvusStore, version: str, *, num_chunks: int) -> _Sample:
    layout = store.versions.layout(version)
    values: dict[str, list[CarriedValue]] = {column.name: [] for column in layout.carried}
    chunks: list[StoredChunk] = []
    texts: list[str] = []
    vectors: list[Vectors] = []
    text_bytes = 0
    for read in store.reader.iter_sample(version, num_chunks, with_text=True, with_vectors=True):
        text = read.text or ""
        text_bytes += len(text.encode("utf-8", "replace"))
        texts.append(excerpt(text))
        for name, value in read.carried.items():
            told = canonical_json(value) if isinstance(value, list | dict) else value
            values[name].append(told[:_MAX_VALUE_CHARS] if isinstance(told, str) else told)
        if read.vector is not None:
            vectors.append(read.vector)
        chunks.append(read.without_content())
    return _Sample(
        chunks=chunks,
        texts=texts,
        mean_text_bytes=text_bytes / max(len(chunks), 1),
        vectors=np.stack(vectors) if vectors else np.zeros((0, layout.dimension), np.float32),
        values=values,
    )


def _other_versions(store: MilvusStore, collection: str, *, live: str) -> StoredPart:
    others = [version for version in store.versions.list(collection) if version != live]
    num_bytes = sum(
        store.reader.count(version) * store.versions.layout(version).dimension * _BYTES_PER_FLOAT
        for version in others
    )
    name = f"vectors of {counted(len(others), 'other version')}"
    return StoredPart(name=name, num_bytes=num_bytes, basis="computed", where="milvus")


def _precisions(settings: JobSettings, found: LiveVersion) -> str:
    begun_in, path = found.contract.dtype, existing_ledger(settings, settings.collection)
    if path is None:
        return begun_in
    with Ledger(path) as ledger:
        made = find_precisions(
            ledger, version=found.name, collection_id=found.contract.collection_id
        )
    return made.in_words(begun_in)


def _in_words(contract: CollectionContract, *, precisions: str) -> dict[str, str]:
    model = PurePath(contract.model)
    overlap = contract.overlap_tokens
    return {
        # Where a local folder is, is nobody's business outside.
        "model": model.name if model.is_absolute() else contract.model,
        "revision": contract.model_revision,
        "dimension": f"{contract.dimension:,}",
        "precision": precisions,
        "engine": contract.engine,
        "chunks": f"up to {contract.max_tokens:,} tokens"
        + (f", {overlap:,} shared with the one before" if overlap else ""),
        "before a query": contract.query_prompt or "nothing",
        "before a document": contract.document_prompt or "nothing",
        "before each of its chunks": ", ".join(
            (*contract.prefix_columns, *(["headings"] if contract.prefix_headings else ()))
        )
        or "nothing",
        "carried columns": ", ".join(contract.carried_columns) or "none",
        "search by words": contract.text_analyzer or "no",
    }
