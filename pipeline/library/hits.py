"""What a search found: hits in the order of nearness, and as a table."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, overload

from embed_index.pipeline.milvus.stored import Hit, StoredChunk
from embed_index.schemas.columns import CarriedColumn, CarriedType, canonical_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_POSITION = tuple(
    field.name for field in fields(StoredChunk) if field.name not in ("carried", "text", "vector")
)


class Hits(Sequence[Hit]):
    """The chunks that one query found, the nearest first."""

    def __init__(
        self, hits: Iterable[Hit], *, query: str | None, columns: Sequence[CarriedColumn]
    ) -> None:
        """Keep hits together.

        Args:
            hits: In the order of nearness.
            query: The text that was searched for; None for a vector.
            columns: The carried columns that were asked for.
        """
        self._hits = tuple(hits)
        self.query = query
        """The text that was searched for; None where it was a vector."""
        self.columns = tuple(columns)
        """The carried columns that hits come with."""

    def __repr__(self) -> str:
        return f"Hits({len(self)} for {self.query!r})"

    def __len__(self) -> int:
        return len(self._hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._hits)

    @overload
    def __getitem__(self, place: int) -> Hit: ...
    @overload
    def __getitem__(self, place: slice) -> "Hits": ...
    def __getitem__(self, place: int | slice) -> "Hit | Hits":
        """Return a hit, or some of them."""
        if isinstance(place, slice):
            return Hits(self._hits[place], query=self.query, columns=self.columns)
        return self._hits[place]

    def as_arrow(self) -> "pa.Table":
        """Return a row a hit: query, rank, score, the chunk's fields, the carried columns."""
        return as_table([self])

    def as_pandas(self) -> "pd.DataFrame":
        """Return `as_arrow` as a data frame; needs pandas, which pymilvus brings."""
        return self.as_arrow().to_pandas()


class BatchHits(Sequence[Hits]):
    """What each of several queries found, in the order of the queries."""

    def __init__(self, found: Iterable[Hits]) -> None:
        self._found = tuple(found)

    def __repr__(self) -> str:
        return f"BatchHits({len(self)} queries)"

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Hits]:
        return iter(self._found)

    @overload
    def __getitem__(self, place: int) -> Hits: ...
    @overload
    def __getitem__(self, place: slice) -> "BatchHits": ...
    def __getitem__(self, place: int | slice) -> "Hits | BatchHits":
        """Return what a query found, or some of them."""
        if isinstance(place, slice):
            return BatchHits(self._found[place])
        return self._found[place]

    def as_arrow(self) -> "pa.Table":
        """Return a row a hit; `query_index` says for which query, from 0."""
        return as_table(self._found)

    def as_pandas(self) -> "pd.DataFrame":
        """Return `as_arrow` as a data frame; needs pandas, which pymilvus brings."""
        return self.as_arrow().to_pandas()


def hit_fields(hit: Hit, *, rank: int) -> dict[str, object]:
    """Return what a hit holds by name, its vector left out; `rank` counts from 1."""
    stored = {name: getattr(hit.chunk, name) for name in _POSITION}
    return {
        "rank": rank,
        "score": hit.score,
        **stored,
        "carried": hit.carried,
        "text": hit.text,
    }


def as_table(found: Sequence[Hits], *, first_query: int = 0) -> "pa.Table":
    """Return the hits of queries as one table.

    Args:
        found: What each query found; all of one version, or at least with the same columns.
        first_query: What `query_index` begins with.
    """
    import pyarrow as pa

    columns = found[0].columns if found else ()
    own = _own_columns(pa)
    names = _names_in_table(columns, own)
    rows = [
        _row(hit, hits, names=names, query_index=index, rank=rank)
        for index, hits in enumerate(found, start=first_query)
        for rank, hit in enumerate(hits, start=1)
    ]
    carried = {names[column.name]: _carried_type(pa, column.type) for column in columns}
    return pa.Table.from_pylist(rows, schema=pa.schema({**own, **carried}))


def _row(
    hit: Hit, hits: Hits, *, names: Mapping[str, str], query_index: int, rank: int
) -> dict[str, object]:
    row = hit_fields(hit, rank=rank)
    del row["carried"]
    row |= {"query_index": query_index, "query": hits.query, "version": hit.version}
    as_json = {column.name for column in hits.columns if column.type == "json"}
    return row | {
        names[name]: canonical_json(value) if name in as_json and value is not None else value
        for name, value in hit.carried.items()
    }


def _own_columns(pa: Any) -> dict[str, Any]:
    return {
        "query_index": pa.int32(),
        "query": pa.string(),
        "rank": pa.int32(),
        "score": pa.float32(),
        "doc_id": pa.string(),
        "chunk_index": pa.int64(),
        "num_chunks": pa.int64(),
        "char_start": pa.int64(),
        "char_end": pa.int64(),
        "num_tokens": pa.int64(),
        "text": pa.string(),
        "text_complete": pa.bool_(),
        "source": pa.string(),
        "chunk_id": pa.string(),
        "doc_hash": pa.string(),
        "version": pa.string(),
    }


def _carried_type(pa: Any, kind: CarriedType) -> Any:
    types = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "list": pa.list_(pa.string()),
        "json": pa.string(),
    }
    return types[kind]


def _names_in_table(columns: Sequence[CarriedColumn], taken: Collection[str]) -> dict[str, str]:
    """Return how carried columns are called beside ours, such as `carried_version`."""
    names: dict[str, str] = {}
    for column in columns:
        name = column.name
        while name in taken or name in names.values():
            name = f"carried_{name}"
        names[column.name] = name
    return names
