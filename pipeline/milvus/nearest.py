"""The rows nearest to vectors, or to words: many in a request, wrong filters told from outages."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from embed_index.pipeline.milvus.connection import MilvusConnection
from embed_index.pipeline.milvus.indexes import MadeIndex
from embed_index.pipeline.milvus.retry import (
    OutagePolicy,
    RequestTooLargeError,
    is_refusal,
)
from embed_index.pipeline.milvus.rows import (
    KEY_FIELDS,
    MAX_TEXT_BYTES,
    POSITION_FIELDS,
    read_chunk,
)
from embed_index.pipeline.milvus.schema import CollectionLayout
from embed_index.pipeline.milvus.sdk import MilvusClient
from embed_index.pipeline.milvus.stored import Hit
from embed_index.pipeline.milvus.vector_types import as_queries
from embed_index.pipeline.milvus.version_indexes import described_index, load_collection
from embed_index.schemas.columns import TEXT_TERMS
from embed_index.schemas.errors import QueryError, StoreError
from embed_index.schemas.records import Vectors

Consistency: TypeAlias = Literal["Strong", "Bounded"]
Queries: TypeAlias = Vectors | Sequence[str]

_FILTER_DOUBT_SECONDS = 0.3
"""A wrong filter and a passing trouble have one code on Milvus 2.3."""


class NearestRows:
    """Searches versions; safe to share by threads."""

    def __init__(self, connection: MilvusConnection, *, retry: OutagePolicy) -> None:
        self._connection = connection
        self._retry = retry
        self._indexes: dict[str, MadeIndex | None] = {}
        """By version; one that is out of date costs speed or hits far down, never an error."""

    def search(
        self,
        version: str,
        vectors: Vectors,
        *,
        layout: CollectionLayout,
        limit: int,
        where: str = "",
        fields: Sequence[str] | None = None,
        consistency: Consistency = "Bounded",
    ) -> list[list[Hit]]:
        """Return the chunks nearest to each vector, the nearest first.

        Args:
            version: The collection version itself, not an alias.
            vectors: Unit vectors of shape (queries, dimension).
            layout: The version's.
            limit: Hits for each vector, from 1 to `MAX_HITS`.
            where: Milvus filter expression over the fields, such as `product == "lamp"`.
            fields: Which of `text`, `embedding` and the carried columns hits come with; None is all
                but the vector.
            consistency: `Strong` sees every acknowledged write, and waits for it.

        Raises:
            QueryError: A field does not exist, or Milvus does not understand the filter.
            ConfigurationError: The version is gone.
            StoreError: Milvus stays away, or refuses.
        """
        if vectors.ndim != 2 or vectors.shape[1] != layout.dimension:
            raise QueryError(
                f"the query's vector has shape {vectors.shape[1:]}, and {version!r} needs"
                f" ({layout.dimension},)",
                remedy="Embed it as the collection's contract says, or give the text.",
            )
        if not np.isfinite(vectors).all():
            raise QueryError("the query's vector holds NaN or infinity")
        request = _Request(
            version=version,
            layout=layout,
            limit=limit,
            where=where,
            fields=_check_fields(fields, layout=layout, version=version),
            consistency=consistency,
        )
        return self._search(request, _unit(vectors))

    def search_texts(
        self,
        version: str,
        texts: Sequence[str],
        *,
        layout: CollectionLayout,
        limit: int,
        where: str = "",
        fields: Sequence[str] | None = None,
        consistency: Consistency = "Bounded",
    ) -> list[list[Hit]]:
        """Return the chunks that share most words with each text, by BM25, the best first.

        Chunks without one of its words are left out. The others are as for `search`.

        Raises:
            QueryError: The version has no text search, a text is longer than Milvus takes, or as
                for `search`.
            ConfigurationError: The version is gone.
            StoreError: Milvus stays away, or refuses.
        """
        check_text_search(layout, version=version)
        for text in texts:
            check_words(text)
        request = _Request(
            version=version,
            layout=layout,
            limit=limit,
            where=where,
            fields=_check_fields(fields, layout=layout, version=version),
            consistency=consistency,
            field=TEXT_TERMS,
        )
        return self._search(request, texts)

    def _search(self, request: "_Request", queries: Queries) -> list[list[Hit]]:
        try:
            return self._search_filtered(request, queries)
        except RequestTooLargeError as error:
            if len(queries) == 1:
                raise QueryError(
                    f"{request.limit:,} hits of {request.version!r} are larger than a message of"
                    " Milvus may be",
                    remedy="Ask for fewer, or without their texts.",
                ) from error
            middle = len(queries) // 2
            return [
                *self._search(request, queries[:middle]),
                *self._search(request, queries[middle:]),
            ]

    def _search_filtered(self, request: "_Request", queries: Queries) -> list[list[Hit]]:
        if not request.where:
            return self._call(request, queries)
        brief = OutagePolicy(
            retry_seconds=self._retry.retry_seconds,
            doubt_seconds=min(self._retry.doubt_seconds, _FILTER_DOUBT_SECONDS),
        )
        try:
            return self._call(request, queries, policy=brief)
        except StoreError as error:
            if not is_refusal(error.__cause__):
                raise
        # Where Milvus is in trouble the search fails without its filter, too.
        self._call(request.unfiltered(), queries[:1])
        try:
            return self._call(request, queries, policy=brief)
        except StoreError as error:
            if not is_refusal(error.__cause__):
                raise
            words = self._connection.words_of(error.__cause__)
            raise QueryError(
                f"Milvus does not understand the filter {request.where!r}: {words}",
                remedy="Correct it; `embed-index describe` lists the carried columns.",
            ) from error

    def _call(
        self, request: "_Request", queries: Queries, *, policy: OutagePolicy | None = None
    ) -> list[list[Hit]]:
        def search(client: MilvusClient) -> list[list[Hit]]:
            # Without a metric it is that of the index, which somebody may have changed.
            params: dict[str, Any] = (
                {"metric_type": "BM25", "params": {}}
                if request.field == TEXT_TERMS
                else {"params": self._search_params(client, request)}
            )
            found = client.search(
                request.version,
                data=request.as_queries(queries),
                anns_field=request.field,
                filter=request.where,
                limit=request.limit,
                output_fields=[*KEY_FIELDS, *POSITION_FIELDS, *request.fields],
                search_params=params,
                consistency_level=request.consistency,
                timeout=self._connection.call_seconds,
            )
            return [[request.read(hit) for hit in hits] for hits in found]

        def load(client: MilvusClient) -> None:
            # It may have been given another index meanwhile.
            self._indexes.pop(request.version, None)
            load_collection(client, request.version, vector_index=self._connection.vector_index)

        return self._connection.call(
            search,
            doing=f"searching {request.version!r}",
            load=load,
            policy=policy or self._retry,
        )

    def _search_params(self, client: MilvusClient, request: "_Request") -> dict[str, int]:
        version = request.version
        if version not in self._indexes:
            self._indexes[version] = described_index(
                client, version, seconds=self._connection.call_seconds
            )
        made = self._indexes[version]
        return {} if made is None else made.search_params(limit=request.limit)


def _unit(vectors: Vectors) -> Vectors:
    """Return the vectors at length 1, which inner products need for scores; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(lengths == 0, 1, lengths), dtype=np.float32)


class _Request:
    """One search as it is put to Milvus, whatever its vectors."""

    def __init__(
        self,
        *,
        version: str,
        layout: CollectionLayout,
        limit: int,
        where: str,
        fields: tuple[str, ...],
        consistency: Consistency,
        field: str = "embedding",
    ) -> None:
        self.version = version
        self.field = field
        self.limit = limit
        self.where = where
        self.fields = fields
        self.consistency: Consistency = consistency
        self._layout = layout
        self._columns = tuple(column for column in layout.carried if column.name in fields)

    def unfiltered(self) -> "_Request":
        """Return the smallest search of the same rows."""
        return _Request(
            version=self.version,
            layout=self._layout,
            limit=1,
            where="",
            fields=(),
            consistency=self.consistency,
            field=self.field,
        )

    def as_queries(self, queries: Queries) -> Sequence[Any]:
        """Return texts, or vectors in the collection's own type, as pymilvus takes them."""
        if isinstance(queries, np.ndarray):
            return as_queries(queries, self._layout.vector_type)
        return list(queries)

    def read(self, hit: Any) -> Hit:
        """Turn what pymilvus gives into a record."""
        score = float(hit["distance"])
        return Hit(
            # Milvus Lite gives BM25 below zero, which it never is.
            score=abs(score) if self.field == TEXT_TERMS else score,
            version=self.version,
            chunk=read_chunk(
                hit["entity"], columns=self._columns, vector_type=self._layout.vector_type
            ),
        )


def check_text_search(layout: CollectionLayout, *, version: str) -> None:
    """Refuse to search a version by words that keeps none.

    Raises:
        QueryError: It has no text search.
    """
    if not layout.text_search:
        raise QueryError(
            f"{version!r} cannot be searched by words",
            remedy="Search by meaning (mode dense), or set `text_search = true` under [index]"
            " and run the job with --rebuild.",
        )


def check_words(text: str) -> None:
    """Refuse a text that is longer than Milvus takes as words.

    Raises:
        QueryError: It is.
    """
    num_bytes = len(text.encode("utf-8"))
    if num_bytes > MAX_TEXT_BYTES:
        raise QueryError(
            f"the query has {num_bytes:,} bytes, and Milvus takes {MAX_TEXT_BYTES:,} of words",
            remedy="Search with a shorter text, or by meaning (mode dense).",
        )


def _check_fields(
    fields: Sequence[str] | None, *, layout: CollectionLayout, version: str
) -> tuple[str, ...]:
    """Return what hits come with beside what every hit has."""
    carried = [column.name for column in layout.carried]
    if fields is None:
        return ("text", *carried)
    always = {*KEY_FIELDS, *POSITION_FIELDS}
    wanted = tuple(name for name in dict.fromkeys(fields) if name not in always)
    for name in wanted:
        if name not in ("text", "embedding", *carried):
            raise QueryError(
                f"{version!r} has no field {name!r}",
                remedy=f"It has text, embedding{''.join(f', {name}' for name in carried)}.",
            )
    return wanted
