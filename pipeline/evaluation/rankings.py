"""What the index of a version finds, as documents, and how long that takes."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from embed_index.pipeline.evaluation.exact import NUM_NEAREST, ExactSearch
from embed_index.pipeline.evaluation.quality import Latency
from embed_index.pipeline.library.searching import SearchRequest, find_hits
from embed_index.pipeline.milvus.reader import CollectionReader
from embed_index.pipeline.milvus.versions import LiveVersion
from embed_index.schemas.ids import chunk_id
from embed_index.schemas.modes import SearchMode
from embed_index.schemas.records import Vectors

Ranking = tuple[str, ...]
"""Documents that a query found, the best first."""

_HITS_OF_A_SEARCH = 10
_KEYS_PER_STEP = 4_096


class SearchedVersion:
    """A version with the queries that it is searched for."""

    def __init__(
        self,
        reader: CollectionReader,
        version: LiveVersion,
        *,
        texts: Sequence[str],
        vectors: Vectors | None,
    ) -> None:
        """Take a version that is loaded.

        Args:
            reader: Of its Milvus.
            version: The version.
            texts: Of the queries.
            vectors: Of the queries, as its contract says; None where it is searched by words alone.
        """
        self._reader = reader
        self.version = version
        self._texts = texts
        self._vectors = vectors

    def wait_for_writes(self) -> None:
        """See to it that later searches see every write that was acknowledged by now."""
        if self._vectors is not None:
            self._reader.search(self.version.name, self._vectors[0], limit=1, consistency="Strong")

    def rank(self, *, mode: SearchMode, depth: int) -> list[Ranking]:
        """Return the documents that the index finds for each query.

        Raises:
            QueryError: The version keeps no words, or a text has too many.
            StoreError: Milvus stays away.
        """
        request = _request(mode=mode, limit=depth, group_by="document")
        request.check_texts(self._texts, live=self.version)
        found = find_hits(
            self._reader.nearest,
            self.version,
            request,
            vectors=self._vectors if request.by_meaning else None,
            texts=self._texts,
        )
        return [tuple(hit.doc_id for hit in hits) for hits in found]

    def read_exactly(self, *, dimensions: Sequence[int], depth: int) -> ExactSearch:
        """Compare every vector of the version with every query; the widest dimension first."""
        assert self._vectors is not None
        exact = ExactSearch(self._vectors, dimensions=dimensions, depth=depth)
        exact.read(self._reader.iter_chunks(self.version.name, with_vectors=True))
        return exact

    def ann_recall(self, exact: ExactSearch) -> float:
        """Return the share of the ten nearest chunks that the index finds, over all queries."""
        found = find_hits(
            self._reader.nearest,
            self.version,
            _request(mode="dense", limit=NUM_NEAREST, group_by=None),
            vectors=self._vectors,
            texts=self._texts,
        )
        return float(exact.share_found([[hit.score for hit in hits] for hits in found]).mean())

    def time(self, *, mode: SearchMode, max_searches: int) -> Latency:
        """Search for one query after the other, as people do: ten chunks with their texts."""
        request = _request(mode=mode, limit=_HITS_OF_A_SEARCH, group_by=None, fields=None)

        def search(place: int) -> None:
            vectors = self._vectors
            find_hits(
                self._reader.nearest,
                self.version,
                request,
                vectors=vectors[place : place + 1] if vectors is not None and by_meaning else None,
                texts=self._texts[place : place + 1],
            )

        by_meaning = request.by_meaning
        return measure_latency(search, num_searches=min(max_searches, len(self._texts)))

    def missing(self, doc_ids: Sequence[str]) -> list[str]:
        """Return which documents the version does not hold, in the order given."""
        absent = []
        for start in range(0, len(doc_ids), _KEYS_PER_STEP):
            step = doc_ids[start : start + _KEYS_PER_STEP]
            keys = {doc_id: chunk_id(doc_id, 0) for doc_id in step}
            held = self._reader.fetch_chunks(self.version.name, keys.values())
            # Where the first chunk could not be embedded, others may be there.
            absent += [
                doc_id
                for doc_id, key in keys.items()
                if key not in held and not self._reader.fetch_document(self.version.name, doc_id)
            ]
        return absent

    def first_text(self, doc_id: str) -> str:
        """Return the text of a document's first chunk; empty where there is none."""
        key = chunk_id(doc_id, 0)
        held = self._reader.fetch_chunks(self.version.name, [key], with_text=True)
        return (held[key].text or "") if key in held else ""


def measure_latency(search: Callable[[int], object], *, num_searches: int) -> Latency:
    """Time searches one by one; a first one, which warms everything, does not count."""
    search(0)
    seconds = np.empty(num_searches)
    for place in range(num_searches):
        began = time.perf_counter()
        search(place)
        seconds[place] = time.perf_counter() - began
    p50, p99 = np.quantile(seconds * 1000, (0.5, 0.99))
    return Latency(num_searches=num_searches, p50_ms=float(p50), p99_ms=float(p99))


def _request(
    *,
    mode: SearchMode,
    limit: int,
    group_by: str | None,
    fields: Sequence[str] | None = (),
) -> SearchRequest:
    return SearchRequest.of(mode=mode, limit=limit, where="", group_by=group_by, fields=fields)
