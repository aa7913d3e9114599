"""Searches for people: one text, those of a file, or one after the other on a terminal."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from embed_index.jobs.adapters.query_servers import StartedServer
from embed_index.jobs.collections.opening import open_from_settings
from embed_index.pipeline.library.collection import Collection
from embed_index.pipeline.library.hits import BatchHits, Hits
from embed_index.pipeline.library.queries import check_query
from embed_index.schemas.errors import QueryError
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.modes import SearchMode
from embed_index.schemas.settings import JobSettings

_QUERIES_PER_STEP = 512
_STEPS_IN_FLIGHT = 3
"""While one is searched for, others are embedded."""
_PROMPT_BYTES = 1024
_TYPED_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How is searched, whatever the text."""

    mode: SearchMode = "dense"
    weights: tuple[float, float] | None = None
    limit: int = 10
    expression: str = ""
    by_document: bool = False
    instruction: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return them as `Collection.search` takes them."""
        group_by: Literal["document"] | None = "document" if self.by_document else None
        return {
            "mode": self.mode,
            "weights": self.weights,
            "limit": self.limit,
            "filter": self.expression,
            "group_by": group_by,
            "instruction": self.instruction,
        }


def search_collection(
    settings: JobSettings,
    *,
    collection: str,
    text: str,
    options: SearchOptions,
    tell: Callable[[str], None],
) -> Hits:
    """Return the chunks nearest to a text, the nearest first.

    Args:
        settings: Where Milvus, the model and the server are.
        collection: The collection's name.
        text: What is searched for.
        options: How.
        tell: Called with a sentence for people when a server is started.

    Raises:
        ConfigurationError: The collection does not exist, the filter is none, or the query is
            empty, not UTF-8 or too long.
        ContractError: The model at hand is not the collection's.
        UnavailableError: Milvus or the embedding server cannot be used.
    """
    check_query(text)
    with _open(settings, collection, longest=[text], tell=tell) as opened:
        return opened.search(text, **options.arguments())


def search_each(
    settings: JobSettings,
    *,
    collection: str,
    texts: Sequence[str],
    options: SearchOptions,
    tell: Callable[[str], None],
) -> Iterator[tuple[int, BatchHits]]:
    """Yield what many texts find, some hundred at a time, each with the first one's place.

    Raises as `search_collection` does.
    """
    with _open(settings, collection, longest=texts, tell=tell) as opened, ExitStack() as stack:
        pool = ThreadPoolExecutor(_STEPS_IN_FLIGHT)
        # What still runs where this ends early fails as soon as the collection is closed.
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)

        def search(step: list[str]) -> BatchHits:
            return opened.search(step, **options.arguments())

        steps: deque[tuple[int, Future[BatchHits]]] = deque()
        for start in range(0, len(texts), _QUERIES_PER_STEP):
            step = list(texts[start : start + _QUERIES_PER_STEP])
            steps.append((start, pool.submit(search, step)))
            if len(steps) == _STEPS_IN_FLIGHT:
                first, found = steps.popleft()
                yield first, found.result()
        for first, found in steps:
            yield first, found.result()


def search_in_turn(
    settings: JobSettings,
    *,
    collection: str,
    ask: Callable[[], str | None],
    show: Callable[[Hits], None],
    refuse: Callable[[QueryError], None],
    options: SearchOptions,
    tell: Callable[[str], None],
) -> None:
    """Search for one text after the other until there is none.

    Args:
        settings: Where Milvus, the model and the server are.
        collection: The collection's name.
        ask: Returns the next text, empty for another try, None at the end.
        show: Shows what a text found.
        refuse: Tells why a text cannot be searched for.
        options: How is searched.
        tell: Called with a sentence for people when a server is started.

    Raises as `search_collection` does, but for what is wrong with a text.
    """
    with _open(settings, collection, longest=[" " * _TYPED_BYTES], tell=tell) as opened:
        while (text := ask()) is not None:
            if not text.strip():
                continue
            try:
                show(opened.search(text, **options.arguments()))
            except QueryError as error:
                refuse(error)


def _open(
    settings: JobSettings,
    collection: str,
    *,
    longest: Sequence[str],
    tell: Callable[[str], None],
) -> AbstractContextManager[Collection]:
    # No text has more tokens than bytes.
    num_bytes = max(len(text.encode("utf-8", "replace")) for text in longest) + _PROMPT_BYTES
    start = StartedServer(tell=tell, max_tokens=min(num_bytes, MAX_CONTEXT_TOKENS))
    return open_from_settings(settings, collection=collection, start=start)
