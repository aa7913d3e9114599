"""The collection store: everything that embed-index does with Milvus, and nothing of how.

Importing this module imports pymilvus, which takes about half a second.
"""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self, TypeVar

from embed_index.pipeline.milvus.address import parse_address
from embed_index.pipeline.milvus.blocks import RowBlock
from embed_index.pipeline.milvus.connection import MilvusConnection
from embed_index.pipeline.milvus.filters import MAX_KEYS_PER_REQUEST, any_of, in_slices
from embed_index.pipeline.milvus.reader import CollectionReader
from embed_index.pipeline.milvus.requests import RowColumns, send_upsert
from embed_index.pipeline.milvus.retry import OutagePolicy, RequestTooLargeError, explain_too_large
from embed_index.pipeline.milvus.roles import AccessRoles
from embed_index.pipeline.milvus.rows import check_batch
from embed_index.pipeline.milvus.sdk import MilvusClient
from embed_index.pipeline.milvus.tls import TlsFiles
from embed_index.pipeline.milvus.version_indexes import load_collection
from embed_index.pipeline.milvus.versions import CollectionVersions
from embed_index.schemas.errors import StoreError
from embed_index.schemas.records import EmbeddedBatch

T = TypeVar("T")

DEFAULT_RETRY = OutagePolicy()
NO_FILES = TlsFiles()
MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""Milvus takes 64 MiB and is fastest, also for others, at 2 to 8."""

_SERVER_CALL_SECONDS = 20.0
_EMBEDDED_CALL_SECONDS = 300.0
"""Milvus Lite writes its memory to disk within a request, and cannot hang on its own."""
_MAX_WRITERS = 3
_FLUSH_SECONDS = 300.0


class MilvusStore:
    """One Milvus, safe to use from many threads; writes rows of collection versions.

    Its `versions` creates, names and drops them; its `reader` reads, counts and searches; its
    `roles` are for an administrator. Every request has a deadline and is tried again while the
    server is away, so a call returns only when Milvus acknowledged it, or raises `StoreError` when
    the outage lasts too long.
    """

    def __init__(
        self,
        connection: MilvusConnection,
        *,
        retry: OutagePolicy,
        max_request_bytes: int,
    ) -> None:
        self._connection = connection
        self._max_request_bytes = max_request_bytes
        self.versions = CollectionVersions(connection)
        self.roles = AccessRoles(connection)
        self.reader = CollectionReader(connection, self.versions, retry=retry)

    def __repr__(self) -> str:
        return f"MilvusStore({self._connection.address.uri!r})"

    @property
    def is_embedded(self) -> bool:
        """Whether Milvus works in this process."""
        return self._connection.embedded

    @property
    def max_writers(self) -> int:
        """How many threads may write at once; Milvus Lite is promised to stand only one."""
        return 1 if self._connection.embedded else _MAX_WRITERS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection and, for Milvus Lite, the folder's lock."""
        self._connection.close()

    def server_version(self) -> str:
        """Return the version as the server spells it."""
        return self.versions.ask_target().version

    def upsert(self, version: str, batch: EmbeddedBatch) -> int:
        """Write chunks with their vectors, replacing rows of the same key.

        Two batches that hold one key must not be in flight together.

        Returns:
            Number of rows that Milvus acknowledged: all of them.

        Raises:
            ValueError: The batch would be stored wrongly; nothing was sent.
            StoreError: Milvus refuses or stays away; earlier requests of the batch are stored.
        """
        layout = self.versions.layout(version)
        check_batch(batch, dimension=layout.dimension, columns=layout.carried)
        return self._upsert_columns(version, RowColumns.of(batch, columns=layout.carried))

    def upsert_block(self, version: str, block: RowBlock) -> int:
        """Write rows that were read elsewhere; otherwise as `upsert`."""
        layout = self.versions.layout(version)
        block.check(dimension=layout.dimension, carried=layout.carried)
        return self._upsert_columns(version, RowColumns.of_block(block, columns=layout.carried))

    def _upsert_columns(self, version: str, columns: RowColumns) -> int:
        return sum(
            self._upsert_rows(version, columns, rows)
            for rows in columns.slices(max_bytes=self._max_request_bytes)
        )

    def _upsert_rows(self, version: str, columns: RowColumns, rows: slice) -> int:
        num_rows = rows.stop - rows.start
        doing = f"writing {num_rows} rows to {version!r}"

        def upsert(client: MilvusClient) -> int:
            layout = self.versions.layout(version)
            request = columns.request(version, rows, vector_type=layout.vector_type)
            return send_upsert(client, request, timeout=self._connection.call_seconds)

        try:
            acknowledged = self._call(version, upsert, doing=doing)
        except RequestTooLargeError as error:
            if num_rows == 1:
                raise explain_too_large(doing) from error
            middle = (rows.start + rows.stop) // 2
            return self._upsert_rows(
                version, columns, slice(rows.start, middle)
            ) + self._upsert_rows(version, columns, slice(middle, rows.stop))
        if acknowledged != num_rows:
            raise StoreError(
                f"{doing}: Milvus acknowledged {acknowledged}",
                remedy="Run again: documents that are not whole are embedded anew.",
            )
        return acknowledged

    def delete_chunks(self, version: str, chunk_ids: Iterable[str]) -> None:
        """Delete rows by key; keys that are not there are passed over."""
        for keys in in_slices(list(chunk_ids), MAX_KEYS_PER_REQUEST):
            self._delete(version, any_of(keys), doing=f"deleting {len(keys)} rows of {version!r}")

    def _delete(self, version: str, expression: str, *, doing: str) -> None:
        def delete(client: MilvusClient) -> None:
            client.delete(version, filter=expression, timeout=self._connection.call_seconds)

        self._call(version, delete, doing=doing)

    def flush(self, version: str) -> None:
        """Have Milvus put everything acknowledged into its own storage.

        Milvus limits this to about once in ten seconds per collection: once a run, not a batch.
        """
        self._call(
            version,
            lambda client: client.flush(version, timeout=_FLUSH_SECONDS),
            doing=f"flushing {version!r}",
        )

    def _call(
        self,
        version: str,
        action: Callable[[MilvusClient], T],
        *,
        doing: str,
    ) -> T:
        return self._connection.call(
            action,
            doing=doing,
            load=lambda client: load_collection(
                client, version, vector_index=self._connection.vector_index
            ),
        )


def open_store(
    uri: str,
    *,
    token: str = "",
    database: str = "",
    tls: TlsFiles = NO_FILES,
    retry: OutagePolicy = DEFAULT_RETRY,
    connect_seconds: float = 15.0,
    call_seconds: float | None = None,
    max_request_bytes: int = MAX_REQUEST_BYTES,
) -> MilvusStore:
    """Connect to Milvus and prove that token and database are good.

    Args:
        uri: A path ending in `.db` for Milvus Lite, created if need be, or `http(s)://host:port`.
        token: `user:password` or an API key; empty for none.
        database: Empty for the server's default one.
        tls: Files for a server that has its own authority, or wants to know its clients.
        retry: How long an outage is ridden out once the store is open.
        connect_seconds: How long a server that does not answer is waited for at first.
        call_seconds: Deadline of one attempt; None for 20 s, and 300 s with Milvus Lite.
        max_request_bytes: Size at which rows go into another request.

    Raises:
        ConfigurationError: The URI is none, holds credentials, or the database does not exist.
        StoreError: Milvus is not there, does not take the token or fails at TLS; or another
            process has the Milvus Lite folder open.
    """
    address = parse_address(uri)
    if call_seconds is None:
        embedded = address.embedded_path is not None
        call_seconds = _EMBEDDED_CALL_SECONDS if embedded else _SERVER_CALL_SECONDS
    connection = MilvusConnection(
        address,
        token=token,
        database=database,
        files=tls,
        policy=retry,
        connect_seconds=connect_seconds,
        call_seconds=call_seconds,
    )
    return MilvusStore(connection, retry=retry, max_request_bytes=max_request_bytes)
