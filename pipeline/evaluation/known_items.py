"""Known-item search: what documents are called as queries, the documents as their answers."""

import hashlib
import heapq
from collections.abc import Iterable

from embed_index.pipeline.evaluation.labels import LabelledQueries
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.schemas.errors import ConfigurationError


def draw_known_items(
    chunks: Iterable[StoredChunk], *, column: str, num_queries: int, seed: int
) -> LabelledQueries:
    """Draw titles, whatever the order of chunks; documents of one title answer it alike.

    Args:
        chunks: All of a version, with their carried columns.
        column: The carried column that says what a document is called.
        num_queries: At most so many titles.
        seed: Another one draws others.

    Raises:
        ConfigurationError: No document has a title there.
    """
    sample = _Sample(num_queries)
    num_untitled = 0
    for chunk in chunks:
        if chunk.chunk_index:
            continue
        title = chunk.carried.get(column)
        if isinstance(title, str) and title.strip():
            sample.offer(title.strip(), chunk.doc_id, seed=seed)
        else:
            num_untitled += 1
    drawn = sample.drawn()
    if not drawn:
        raise ConfigurationError(
            f"no document has a text in {column!r}",
            remedy="Name a carried column of texts, such as a title.",
        )
    texts = {f"t{place}": title for place, title in enumerate(drawn, start=1)}
    joined = LabelledQueries.join(
        texts,
        {query_id: dict.fromkeys(drawn[title], 1) for query_id, title in texts.items()},
        source=f"{len(drawn):,} titles in {column!r} (seed {seed})",
    )
    if not num_untitled:
        return joined
    note = f"{num_untitled:,} documents have no text in {column!r}"
    return LabelledQueries(queries=joined.queries, source=joined.source, notes=(note,))


class _Sample:
    """The titles with the smallest digests, and all documents that bear them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._largest_first: list[tuple[int, str]] = []
        self._documents: dict[str, list[str]] = {}

    def offer(self, title: str, doc_id: str, *, seed: int) -> None:
        """Take a document, unless smaller digests have filled the sample."""
        if title in self._documents:
            self._documents[title].append(doc_id)
            return
        digest = _digest(title, seed=seed)
        if len(self._largest_first) < self._size:
            heapq.heappush(self._largest_first, (-digest, title))
        elif -digest > self._largest_first[0][0]:
            _, out = heapq.heapreplace(self._largest_first, (-digest, title))
            del self._documents[out]
        else:
            return
        self._documents[title] = [doc_id]

    def drawn(self) -> dict[str, list[str]]:
        """Return the documents of each title, by title."""
        return {title: self._documents[title] for title in sorted(self._documents)}


def _digest(title: str, *, seed: int) -> int:
    content = f"{seed}\0{title}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
