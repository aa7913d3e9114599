"""Reading collection versions: by key, page by page, by nearness."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from embed_index.pipeline.milvus.blocks import RowBlock
from embed_index.pipeline.milvus.connection import MilvusConnection
from embed_index.pipeline.milvus.filters import (
    MAX_KEYS_PER_REQUEST,
    KeyRange,
    any_of,
    first_keys,
    in_slices,
    of_document,
)
from embed_index.pipeline.milvus.nearest import Consistency, NearestRows
from embed_index.pipeline.milvus.retry import OutagePolicy, RequestTooLargeError, explain_too_large
from embed_index.pipeline.milvus.rows import (
    KEY_FIELDS,
    POSITION_FIELDS,
    Row,
    read_chunk,
    read_key,
)
from embed_index.pipeline.milvus.sdk import MilvusClient
from embed_index.pipeline.milvus.stored import ChunkKey, Hit, StoredChunk
from embed_index.pipeline.milvus.vector_types import read_vector
from embed_index.pipeline.milvus.version_indexes import load_collection
from embed_index.pipeline.milvus.versions import CollectionVersions, alias_of
from embed_index.schemas.ids import chunk_id
from embed_index.schemas.indexes import BYTES_PER_NUMBER
from embed_index.schemas.limits import MAX_HITS
from embed_index.schemas.records import Vectors

T = TypeVar("T")

_PAGE_BYTES = 4 * 1024 * 1024
_EMBEDDED_FACTOR = 4
"""Milvus Lite takes larger queries, and looks at every row for each."""
_TEXT_BYTES_PER_ROW = 8192
"""Until it is known better."""
_BYTES_PER_CHARACTER = 2
_KEY_BYTES_PER_ROW = 512


class CollectionReader:
    """Reads rows; every method may be called from many threads at once.

    Unless it says otherwise, a method sees every write that was acknowledged before it was called.
    """

    def __init__(
        self,
        connection: MilvusConnection,
        versions: CollectionVersions,
        *,
        retry: OutagePolicy,
    ) -> None:
        self._connection = connection
        self._versions = versions
        self.nearest = NearestRows(connection, retry=retry)
        """Searches many vectors at once."""
        factor = _EMBEDDED_FACTOR if connection.embedded else 1
        self._page_bytes = _PAGE_BYTES * factor
        self._max_rows_per_query = MAX_HITS * factor

    def fetch_chunks(
        self,
        version: str,
        chunk_ids: Iterable[str],
        *,
        with_text: bool = False,
        with_vectors: bool = False,
    ) -> dict[str, StoredChunk]:
        """Read rows by key, in the order asked for; absent keys are left out."""
        read = self._chunk_reader(version)
        fields = self._fields(version, with_text=with_text, with_vectors=with_vectors)
        rows = self._fetch(version, chunk_ids, fields)
        return {key: read(row) for key, row in rows.items()}

    def fetch_vectors(self, version: str, chunk_ids: Iterable[str]) -> dict[str, Vectors]:
        """Read vectors by key, in the order asked for; absent keys are left out."""
        rows = self._fetch(version, chunk_ids, ("chunk_id", "embedding"))
        kind = self._versions.layout(version).vector_type
        return {key: read_vector(row["embedding"], kind) for key, row in rows.items()}

    def fetch_document(self, version: str, doc_id: str) -> list[StoredChunk]:
        """Read the rows of a document with their texts, in order; empty where there is none.

        Chunks that could not be embedded have no row.
        """
        first = chunk_id(doc_id, 0)
        keys = self._fetch(version, [first], KEY_FIELDS)
        rows = list(keys.values()) or self._query(
            version, of_document(doc_id), KEY_FIELDS, doing=f"reading {doc_id!r}", limit=1
        )
        if not rows:
            return []
        wanted = [chunk_id(doc_id, index) for index in range(read_key(rows[0]).num_chunks)]
        return list(self.fetch_chunks(version, wanted, with_text=True).values())

    def iter_keys(self, version: str) -> Iterator[ChunkKey]:
        """Read the keys of all rows, page by page.

        No row that stays as it is during the reading is missed or met twice. Rows that share a
        key, which Milvus may hold, are met once: compare with `count`.
        """
        for page in self._iter_pages(version, KEY_FIELDS):
            yield from map(read_key, page)

    def iter_chunks(
        self, version: str, *, with_text: bool = False, with_vectors: bool = False
    ) -> Iterator[StoredChunk]:
        """Read all rows as `iter_keys` does, with carried columns and what else is asked for."""
        read = self._chunk_reader(version)
        fields = self._fields(version, with_text=with_text, with_vectors=with_vectors)
        for page in self._iter_pages(version, fields):
            for row in page:
                yield read(row)

    def iter_sample(
        self, version: str, num_chunks: int, *, with_text: bool = False, with_vectors: bool = False
    ) -> Iterator[StoredChunk]:
        """Read about so many rows, or all if there are no more, as `iter_chunks` does.

        Keys are digests, so that the first of them are an even sample; and it stays the same as
        long as the collection does.
        """
        num_rows = self.count(version)
        read = self._chunk_reader(version)
        fields = self._fields(version, with_text=with_text, with_vectors=with_vectors)
        share = min(1.0, num_chunks / max(num_rows, 1))
        for page in self._iter_pages(version, fields, share=share):
            for row in page:
                yield read(row)

    def iter_blocks(self, version: str) -> Iterator[RowBlock]:
        """Read all rows as `iter_keys` does, everything that they hold, page by page."""
        layout = self._versions.layout(version)
        fields = self._fields(version, with_text=True, with_vectors=True)
        for page in self._iter_pages(version, fields):
            if page:
                yield RowBlock.of_answer(
                    page, carried=layout.carried, vector_type=layout.vector_type
                )

    def _chunk_reader(self, version: str) -> Callable[[Row], StoredChunk]:
        layout = self._versions.layout(version)
        return partial(read_chunk, columns=layout.carried, vector_type=layout.vector_type)

    def count(self, version: str) -> int:
        """Count the rows; deleted ones are left out."""
        return self._count(version, "")

    def count_range(self, version: str, keys: KeyRange) -> int:
        """Count the rows whose keys are in a range, those that share a key included."""
        return self._count(version, keys.filter)

    def count_key(self, version: str, chunk_id: str) -> int:
        """Count the rows of one key; Milvus may hold several."""
        return self._count(version, any_of([chunk_id]))

    def search(
        self,
        collection: str,
        vector: Vectors,
        *,
        limit: int = 10,
        where: str = "",
        consistency: Consistency = "Bounded",
    ) -> list[Hit]:
        """Return the chunks nearest to a vector, the nearest first.

        Args:
            collection: A version, or an alias, which is resolved for this one search.
            vector: Unit vector of shape (dimension,).
            limit: At most `MAX_HITS`.
            where: Milvus filter expression over the fields, such as `product == "lamp"`.
            consistency: `Strong` sees every acknowledged write, and waits for it.

        Raises:
            ConfigurationError: The collection does not exist, or the search is unusable as given.
            StoreError: Milvus stays away, or refuses.
        """
        version = collection
        if alias_of(collection) is None:
            version = self._versions.live(collection) or collection
        (hits,) = self.nearest.search(
            version,
            vector[None],
            layout=self._versions.layout(version),
            limit=limit,
            where=where,
            consistency=consistency,
        )
        return hits

    def _count(self, version: str, expression: str) -> int:
        doing = f"counting the rows of {version!r}"
        rows = self._query(version, expression, ("count(*)",), doing=doing)
        return int(rows[0]["count(*)"])

    def _fields(self, version: str, *, with_text: bool, with_vectors: bool) -> tuple[str, ...]:
        carried = (column.name for column in self._versions.carried(version))
        wanted = (*(("text",) if with_text else ()), *(("embedding",) if with_vectors else ()))
        return (*KEY_FIELDS, *POSITION_FIELDS, *carried, *wanted)

    def _rows_per_page(
        self, version: str, fields: Sequence[str], *, text_bytes: float = _TEXT_BYTES_PER_ROW
    ) -> int:
        row_bytes: float = _KEY_BYTES_PER_ROW
        if "embedding" in fields:
            layout = self._versions.layout(version)
            row_bytes += BYTES_PER_NUMBER[layout.vector_type] * layout.dimension
        if "text" in fields:
            row_bytes += text_bytes
        return max(1, min(int(self._page_bytes / row_bytes), self._max_rows_per_query // 2))

    def _fetch(
        self, version: str, chunk_ids: Iterable[str], fields: Sequence[str]
    ) -> dict[str, Row]:
        wanted = list(dict.fromkeys(chunk_ids))
        size = min(MAX_KEYS_PER_REQUEST, self._rows_per_page(version, fields))
        found = {
            str(row["chunk_id"]): row
            for keys in in_slices(wanted, size)
            for row in self._query_keys(version, keys, fields)
        }
        return {key: found[key] for key in wanted if key in found}

    def _iter_pages(
        self, version: str, fields: Sequence[str], *, share: float = 1.0
    ) -> Iterator[list[Row]]:
        num_rows = self.count(version)
        wanted = self._rows_per_page(version, fields)
        rest: KeyRange | None = first_keys(share)
        while rest is not None:
            keys, rest = rest.split(min(wanted / max(num_rows, 1), 1.0))
            pending = [keys]
            while pending:
                keys = pending.pop()
                page = self._query_range(version, keys, fields)
                if page is not None:
                    if "text" in fields and page:
                        wanted = self._rows_like(page, version=version, fields=fields)
                    yield page
                    continue
                halves = keys.halves()
                if halves is None:
                    raise explain_too_large(f"reading the rows of {version!r} where {keys.filter}")
                pending.extend(halves[::-1])

    def _rows_like(self, page: list[Row], *, version: str, fields: Sequence[str]) -> int:
        """Return how many rows make a page if their texts are as long as those of the last one."""
        # Only what is no vector is looked at; see `RowBlock.of_answer`.
        num_characters = sum(len(str(row["text"])) for row in list.__iter__(page))
        text_bytes = num_characters * _BYTES_PER_CHARACTER / len(page)
        return self._rows_per_page(version, fields, text_bytes=text_bytes)

    def _query_range(self, version: str, keys: KeyRange, fields: Sequence[str]) -> list[Row] | None:
        """Read the rows of a range; None where they are more than one answer may hold."""
        try:
            page = self._query(
                version,
                keys.filter,
                fields,
                limit=self._max_rows_per_query,
                doing=f"reading the rows of {version!r}",
            )
        except RequestTooLargeError:
            return None
        return page if len(page) < self._max_rows_per_query else None

    def _query_keys(self, version: str, keys: Sequence[str], fields: Sequence[str]) -> list[Row]:
        doing = f"reading {len(keys)} rows of {version!r}"
        try:
            return self._query(version, any_of(keys), fields, doing=doing)
        except RequestTooLargeError as error:
            if len(keys) == 1:
                raise explain_too_large(doing) from error
            middle = len(keys) // 2
            return [
                *self._query_keys(version, keys[:middle], fields),
                *self._query_keys(version, keys[middle:], fields),
            ]

    def _query(
        self,
        version: str,
        expression: str,
        fields: Sequence[str],
        *,
        doing: str,
        limit: int | None = None,
    ) -> list[Row]:
        """Read rows, as a list that makes each row's vector when it is looked at."""
        bounded: dict[str, Any] = {} if limit is None else {"limit": limit}

        def query(client: MilvusClient) -> list[Row]:
            rows: list[Row] = client.query(
                version,
                filter=expression,
                output_fields=list(fields),
                consistency_level="Strong",
                timeout=self._connection.call_seconds,
                **bounded,
            )
            return rows

        return self._call(version, query, doing=doing)

    def _call(
        self,
        version: str,
        action: Callable[[MilvusClient], T],
        *,
        doing: str,
        policy: OutagePolicy | None = None,
    ) -> T:
        return self._connection.call(
            action,
            doing=doing,
            load=lambda client: load_collection(
                client, version, vector_index=self._connection.vector_index
            ),
            policy=policy,
        )
