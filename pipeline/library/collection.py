"""A collection that is searched: one connection, which follows the collection's name."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar, overload

import numpy as np

from embed_index.pipeline.library.documents import Document, read_document, read_neighbours
from embed_index.pipeline.library.hits import BatchHits, Hits
from embed_index.pipeline.library.queries import QueryEmbedder, check_query
from embed_index.pipeline.library.searching import SearchRequest, find_hits
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.stored import Hit, StoredChunk
from embed_index.pipeline.milvus.versions import LiveVersion
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import EmbedIndexError, StoreError
from embed_index.schemas.modes import SearchMode
from embed_index.schemas.records import Vectors

if TYPE_CHECKING:
    from embed_index.pipeline.corpus.lookup import CorpusPlace

T = TypeVar("T")

_MAX_MOVES = 5
"""How often the name may move during one search."""
_FRESH_SECONDS = 0.02
"""How long what a name stood for is taken for what it stands for: many searches in a row, or at
once, would otherwise ask as often as they search. What is dropped meanwhile is noticed."""


@dataclass(frozen=True, slots=True)
class _Sight:
    """What a name stood for at a moment."""

    live: LiveVersion
    at: float
    """By the monotonic clock, before it was asked for."""


class Collection:
    """A collection that is open for searching.

    It may be shared by threads. The collection's name is looked up while a call runs, so that it
    sees the version that was live then, or was 20 ms before it began, and its query is put as that
    one's contract says. Closing it releases the connections, and with Milvus Lite the folder.
    """

    def __init__(
        self,
        name: str,
        *,
        store: MilvusStore,
        embedder: QueryEmbedder,
        corpus: "CorpusPlace | None" = None,
    ) -> None:
        """Look the name up; `open_collection` does this from settings.

        Args:
            name: The collection's name, or that of one version, which is then kept to.
            store: Its Milvus; closed with the collection, and where there is no such collection.
            embedder: Embeds queries; closed with the collection.
            corpus: Where whole texts are read again; None for nowhere.

        Raises:
            ConfigurationError: There is no such collection, or it is none of ours.
            StoreError: Milvus stays away.
        """
        self.name = name
        self._store = store
        self._embedder = embedder
        self._corpus = corpus
        self._lock = threading.Lock()
        self._looking_up: Future[_Sight] | None = None
        # One is enough: calls that come while it works share its next answer.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="embed-index-alias")
        try:
            self._seen = self._look()
            store.versions.load(self._seen.live.name)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"Collection({self.name!r}, version {self.version!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release everything; calls that still run fail."""
        try:
            self._embedder.close()
        finally:
            self._pool.shutdown(wait=False)
            self._store.close()

    @property
    def contract(self) -> CollectionContract:
        """How the version that the last call used was made."""
        return self._seen.live.contract

    @property
    def version(self) -> str:
        """The version that the last call used."""
        return self._seen.live.name

    @overload
    def search(
        self,
        texts: str,
        *,
        mode: SearchMode = "dense",
        weights: tuple[float, float] | None = None,
        limit: int = 10,
        filter: str = "",
        group_by: Literal["document"] | None = None,
        output_fields: Sequence[str] | None = None,
        instruction: str | None = None,
    ) -> Hits: ...
    @overload
    def search(
        self,
        texts: list[str] | tuple[str, ...],
        *,
        mode: SearchMode = "dense",
        weights: tuple[float, float] | None = None,
        limit: int = 10,
        filter: str = "",
        group_by: Literal["document"] | None = None,
        output_fields: Sequence[str] | None = None,
        instruction: str | None = None,
    ) -> BatchHits: ...
    def search(
        self,
        texts: str | list[str] | tuple[str, ...],
        *,
        mode: SearchMode = "dense",
        weights: tuple[float, float] | None = None,
        limit: int = 10,
        filter: str = "",
        group_by: Literal["document"] | None = None,
        output_fields: Sequence[str] | None = None,
        instruction: str | None = None,
    ) -> Hits | BatchHits:
        """Find the chunks nearest to a text, or to each of several in one request.

        Args:
            texts: What is searched for, without a prompt.
            mode: `dense` by meaning; `text` by words, for which no server is needed; `hybrid` by
                both. The last two are for collections with text search.
            weights: How much meaning and words count in a hybrid search, such as `(0.7, 0.3)`; None
                fuses the ranks of both.
            limit: Hits for each text.
            filter: Milvus expression that hits must satisfy, such as `product == "cloud"`.
            group_by: `document` for the best chunk of each document, so that `limit` counts
                documents.
            output_fields: Which of `text`, `embedding` and the carried columns hits come with; None
                is all but the vector.
            instruction: A task instead of the contract's, such as `Find the manual's page on it`;
                empty for none.

        Returns:
            The hits of a text; of several texts, those of each in their order.

        Raises:
            QueryError: A text, the filter, the limit or a field is unusable.
            ContractError: The embedding server is not the one that the collection was made with.
            ConfigurationError: The collection is gone, or a setting is unusable.
            UnavailableError: Milvus or the embedding server cannot be used at present.
        """
        queries = [texts] if isinstance(texts, str) else list(texts)
        request = SearchRequest.of(
            mode=mode,
            weights=weights,
            limit=limit,
            where=filter,
            group_by=group_by,
            fields=output_fields,
        )
        for query in queries:
            check_query(query)

        def search(live: LiveVersion) -> Hits | BatchHits:
            request.check_texts(queries, live=live)
            vectors = None
            if request.by_meaning:
                vectors = self._embedder.embed(queries, version=live, instruction=instruction)
            rows = self._store.reader.nearest
            found = find_hits(rows, live, request, vectors=vectors, texts=queries)
            hits = _as_hits(found, live=live, queries=queries, output_fields=output_fields)
            return hits[0] if isinstance(texts, str) else hits

        if not queries:
            return BatchHits(())
        return self._follow(search)

    def search_vectors(
        self,
        vectors: Vectors,
        *,
        limit: int = 10,
        filter: str = "",
        group_by: Literal["document"] | None = None,
        output_fields: Sequence[str] | None = None,
    ) -> BatchHits:
        """Find the chunks nearest to vectors that are at hand, such as those of `embed`.

        Args:
            vectors: Shape (queries, dimension), made as the contract says.
            limit: As for `search`, and so are the others.
            filter: Milvus expression that hits must satisfy.
            group_by: `document` for the best chunk of each document.
            output_fields: What hits come with.

        Raises:
            QueryError: The vectors do not fit the version that is live, or as for `search`.
            ConfigurationError: The collection is gone.
            StoreError: Milvus stays away.
        """
        queries = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
        request = SearchRequest.of(
            limit=limit, where=filter, group_by=group_by, fields=output_fields
        )

        def search(live: LiveVersion) -> BatchHits:
            found = find_hits(self._store.reader.nearest, live, request, vectors=queries)
            nameless = [None] * len(found)
            return _as_hits(found, live=live, queries=nameless, output_fields=output_fields)

        return self._follow(search)

    def embed(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """Return the vectors of queries, put as the contract says; shape (texts, dimension).

        Raises as `search` does.
        """
        queries = list(texts)
        return self._follow(
            lambda live: self._embedder.embed(queries, version=live, instruction=instruction)
        )

    def document(self, doc_id: str) -> Document:
        """Return a document with its whole text.

        The text is put together from the chunks, and proven by its hash. Where a chunk is longer
        than Milvus holds, it is read again from the corpus that the collection was opened with.

        Raises:
            QueryError: There is no such document.
            ConfigurationError: The corpus is needed, and not at hand or changed since.
            StoreError: Milvus stays away.
        """
        return self._follow(
            lambda live: read_document(self._store.reader, live.name, doc_id, corpus=self._corpus)
        )

    def neighbours(
        self, hit: Hit | StoredChunk, *, before: int = 1, after: int = 1
    ) -> tuple[StoredChunk, ...]:
        """Return a hit's chunk with those before and after it in its document, in order.

        Raises:
            QueryError: The document was indexed anew since.
            StoreError: Milvus stays away.
        """
        chunk = hit.chunk if isinstance(hit, Hit) else hit
        return self._follow(
            lambda live: read_neighbours(
                self._store.reader, live.name, chunk, before=before, after=after
            )
        )

    def _follow(self, work: Callable[[LiveVersion], T]) -> T:
        """Do what is to be done with the version that the name stands for while it is done.

        On a server the name is looked up meanwhile, unless it just was. It nearly always stands for
        what it stood for before; where it has moved, the work is done once more. Milvus Lite works
        in this process, where two things at once take longer than one after the other.
        """
        for _ in range(_MAX_MOVES):
            asked: Future[_Sight] | None = None
            if self._store.is_embedded:
                self._seen = self._look()
            elif time.monotonic() - self._seen.at > _FRESH_SECONDS:
                asked = self._ask()
            known, failure = self._seen.live, None
            try:
                result = work(known)
                if asked is None:
                    return result
            except EmbedIndexError as error:
                failure = error
            self._seen = (asked or self._ask()).result()
            if self._seen.live is known:
                if failure is not None:
                    raise failure
                return result
        raise StoreError(
            f"{self.name!r} was moved {_MAX_MOVES} times during one search",
            remedy="See who moves it; searches go on once it stays.",
        )

    def _ask(self) -> "Future[_Sight]":
        """Return what the name will have been found to stand for after this call."""
        with self._lock:
            if self._looking_up is None:
                try:
                    self._looking_up = self._pool.submit(self._look)
                except RuntimeError:
                    raise closed(self.name) from None
            return self._looking_up

    def _look(self) -> _Sight:
        with self._lock:
            # Who comes from now on needs an answer to a question that was asked later.
            self._looking_up = None
        now = time.monotonic()
        return _Sight(self._store.versions.find(self.name), now)


def closed(name: str) -> StoreError:
    """Return the error for a call of a collection that was closed."""
    return StoreError(f"the collection {name!r} was closed", remedy="Open it again.")


def _as_hits(
    found: Sequence[Sequence[Hit]],
    *,
    live: LiveVersion,
    queries: Sequence[str | None],
    output_fields: Sequence[str] | None,
) -> BatchHits:
    columns = [
        column
        for column in live.layout.carried
        if output_fields is None or column.name in output_fields
    ]
    return BatchHits(
        Hits(hits, query=query, columns=columns) for hits, query in zip(found, queries, strict=True)
    )
