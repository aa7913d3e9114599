"""The asynchronous twin of a collection, for handlers of a web service to share."""

import asyncio
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Literal, Self, TypeVar, overload

from embed_index.pipeline.library.collection import Collection, closed
from embed_index.pipeline.library.documents import Document
from embed_index.pipeline.library.hits import BatchHits, Hits
from embed_index.pipeline.milvus.stored import Hit, StoredChunk
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.modes import SearchMode
from embed_index.schemas.records import Vectors

T = TypeVar("T")

_MAX_CALLS = 32
"""At once; further ones wait for their turn."""


class AsyncCollection:
    """A collection whose calls are awaited; see `Collection` for what they do and raise.

    Any number of tasks may share it, also of several event loops.
    """

    def __init__(self, collection: Collection) -> None:
        """Take a collection over; `open_async_collection` does this from settings."""
        self._collection = collection
        self._pool = ThreadPoolExecutor(_MAX_CALLS, thread_name_prefix="embed-index-search")

    def __repr__(self) -> str:
        return f"Async{self._collection!r}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Release everything; calls that still run fail."""
        # Not in the pool, which may be full of those calls.
        await asyncio.to_thread(self._collection.close)
        self._pool.shutdown(wait=False)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._collection.name

    @property
    def contract(self) -> CollectionContract:
        """How the version that the last call used was made."""
        return self._collection.contract

    @property
    def version(self) -> str:
        """The version that the last call used."""
        return self._collection.version

    @overload
    async def search(
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
    async def search(
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
    async def search(
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
        """Find the chunks nearest to a text, or to each of several in one request."""
        return await self._run(
            functools.partial(
                self._collection.search,
                texts,
                mode=mode,
                weights=weights,
                limit=limit,
                filter=filter,
                group_by=group_by,
                output_fields=output_fields,
                instruction=instruction,
            )
        )

    async def search_vectors(
        self,
        vectors: Vectors,
        *,
        limit: int = 10,
        filter: str = "",
        group_by: Literal["document"] | None = None,
        output_fields: Sequence[str] | None = None,
    ) -> BatchHits:
        """Find the chunks nearest to vectors that are at hand."""
        return await self._run(
            functools.partial(
                self._collection.search_vectors,
                vectors,
                limit=limit,
                filter=filter,
                group_by=group_by,
                output_fields=output_fields,
            )
        )

    async def embed(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """Return the vectors of queries, put as the contract says."""
        return await self._run(
            functools.partial(self._collection.embed, texts, instruction=instruction)
        )

    async def document(self, doc_id: str) -> Document:
        """Return a document with its whole text."""
        return await self._run(functools.partial(self._collection.document, doc_id))

    async def neighbours(
        self, hit: Hit | StoredChunk, *, before: int = 1, after: int = 1
    ) -> tuple[StoredChunk, ...]:
        """Return a hit's chunk with those before and after it in its document, in order."""
        return await self._run(
            functools.partial(self._collection.neighbours, hit, before=before, after=after)
        )

    async def _run(self, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            answer = loop.run_in_executor(self._pool, call)
        except RuntimeError:
            raise closed(self.name) from None
        return await answer
