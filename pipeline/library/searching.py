"""One search of one version: by meaning, by words or by both, as chunks or as documents."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, get_args

from embed_index.pipeline.library.fusion import Weights, fuse
from embed_index.pipeline.milvus.nearest import NearestRows, check_text_search, check_words
from embed_index.pipeline.milvus.stored import Hit
from embed_index.pipeline.milvus.versions import LiveVersion
from embed_index.schemas.errors import QueryError
from embed_index.schemas.limits import MAX_HITS
from embed_index.schemas.modes import SearchMode
from embed_index.schemas.records import Vectors

_ROWS_PER_REQUEST = 4_096
"""Hits of all queries in a request, so that an answer stays far below Milvus' message limit."""
_CHUNKS_PER_DOCUMENT = 4
"""Hits asked for where one is wanted from each document; more, where these do not do."""
_RANKED_PER_WANTED = 3
_MIN_RANKED = 50
"""A hybrid search ranks more than it returns: what is in the middle of both rankings may win."""

Search = Callable[[Sequence[int], int], list[list[Hit]]]
"""Returns so many hits for each of the queries at these places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """How is searched, whatever for."""

    mode: SearchMode
    weights: Weights | None
    """Of a hybrid search; None for reciprocal ranks."""
    limit: int
    where: str
    by_document: bool
    fields: Sequence[str] | None

    @classmethod
    def of(
        cls,
        *,
        mode: SearchMode = "dense",
        weights: object = None,
        limit: int,
        where: str,
        group_by: str | None,
        fields: Sequence[str] | None,
    ) -> Self:
        """Check what a caller asks for.

        Raises:
            QueryError: Something of it makes no sense.
        """
        _check_arguments(where, limit=limit, group_by=group_by, fields=fields)
        if mode not in get_args(SearchMode):
            raise QueryError(f"mode is 'dense', 'text' or 'hybrid', not {mode!r}")
        if weights is not None and mode != "hybrid":
            raise QueryError(f"weights are for mode 'hybrid', not {mode!r}")
        return cls(
            mode=mode,
            weights=None if weights is None else _check_weights(weights),
            limit=limit,
            where=where.strip(),
            by_document=group_by is not None,
            fields=fields,
        )

    @property
    def by_meaning(self) -> bool:
        """Whether queries are embedded."""
        return self.mode != "text"

    def check_texts(self, texts: Sequence[str], *, live: LiveVersion) -> None:
        """Refuse, before anything is embedded, what cannot be searched for by words.

        Raises:
            QueryError: The version keeps no words, or a text has too many.
        """
        if self.mode == "dense":
            return
        check_text_search(live.layout, version=live.name)
        for text in texts:
            check_words(text)


def find_hits(
    rows: NearestRows,
    live: LiveVersion,
    request: SearchRequest,
    *,
    vectors: Vectors | None = None,
    texts: Sequence[str] = (),
) -> list[list[Hit]]:
    """Return the hits of each query, the best first.

    Args:
        rows: Of the Milvus that holds the version.
        live: The version.
        request: How is searched.
        vectors: One for each query; None where it is searched by words alone.
        texts: One for each query, unless it is searched by meaning alone.

    Raises:
        QueryError: The vectors, a field or the filter do not fit the version.
        StoreError: Milvus stays away.
    """
    search = _search_of(rows, live, request, vectors=vectors, texts=texts)
    num_queries = len(texts) if vectors is None else len(vectors)
    if not request.by_document:
        return search(range(num_queries), request.limit)
    return _best_of_documents(search, num_queries=num_queries, limit=request.limit)


def _search_of(
    rows: NearestRows,
    live: LiveVersion,
    request: SearchRequest,
    *,
    vectors: Vectors | None,
    texts: Sequence[str],
) -> Search:
    def by_meaning(places: Sequence[int], limit: int) -> list[list[Hit]]:
        assert vectors is not None
        return rows.search(
            live.name,
            vectors[list(places)],
            layout=live.layout,
            limit=limit,
            where=request.where,
            fields=request.fields,
        )

    def by_words(places: Sequence[int], limit: int) -> list[list[Hit]]:
        return rows.search_texts(
            live.name,
            [texts[place] for place in places],
            layout=live.layout,
            limit=limit,
            where=request.where,
            fields=request.fields,
        )

    def by_both(places: Sequence[int], limit: int) -> list[list[Hit]]:
        depth = min(max(limit * _RANKED_PER_WANTED, _MIN_RANKED), MAX_HITS)
        rankings = (_in_steps(leg)(places, depth) for leg in (by_meaning, by_words))
        return [
            fuse(dense, text, weights=request.weights, limit=limit)
            for dense, text in zip(*rankings, strict=True)
        ]

    match request.mode:
        case "dense":
            return _in_steps(by_meaning)
        case "text":
            return _in_steps(by_words)
        case "hybrid":
            return by_both


def _in_steps(search: Search) -> Search:
    """Return a search that asks for as many queries at once as their hits allow."""

    def search_all(places: Sequence[int], limit: int) -> list[list[Hit]]:
        step = max(_ROWS_PER_REQUEST // limit, 1)
        return [
            hits
            for start in range(0, len(places), step)
            for hits in search(places[start : start + step], limit)
        ]

    return search_all


def _best_of_documents(search: Search, *, num_queries: int, limit: int) -> list[list[Hit]]:
    """Return each query's best chunk of each document, searching wider until there are enough.

    Milvus before 2.4 takes a request to group its hits, and does not.
    """
    best: list[list[Hit]] = [[] for _ in range(num_queries)]
    open_places: Sequence[int] = range(num_queries)
    num_hits = limit
    while open_places and num_hits < MAX_HITS:
        num_hits = min(num_hits * _CHUNKS_PER_DOCUMENT, MAX_HITS)
        unfilled = []
        for place, hits in zip(open_places, search(open_places, num_hits), strict=True):
            by_document: dict[str, Hit] = {}
            for hit in hits:
                by_document.setdefault(hit.doc_id, hit)
            best[place] = list(by_document.values())[:limit]
            if len(by_document) < limit and len(hits) == num_hits:
                unfilled.append(place)
        open_places = unfilled
    return best


def _check_arguments(where: object, *, limit: int, group_by: object, fields: object) -> None:
    if not 1 <= limit <= MAX_HITS:
        raise QueryError(f"a search returns 1 to {MAX_HITS} hits, not {limit}")
    if not isinstance(where, str):
        raise QueryError(f"a filter is an expression, not {type(where).__name__}")
    if any("\ud800" <= character <= "\udfff" for character in where):
        raise QueryError("the filter is not UTF-8")
    if group_by not in (None, "document"):
        raise QueryError(f"group_by is 'document' or None, not {group_by!r}")
    if isinstance(fields, str):
        raise QueryError("output_fields is a list of names, not a text")


def _check_weights(weights: object) -> Weights:
    try:
        dense, text = map(float, weights)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        dense = text = math.nan
    # Also false for what is no number.
    if not (0 <= dense < math.inf and 0 <= text < math.inf and dense + text > 0):
        raise QueryError(
            f"weights are two numbers from 0, dense and text, not {weights!r}",
            remedy="Give for example 0.7 and 0.3.",
        )
    return Weights(dense=dense, text=text)
