"""One shared Milvus client that can be replaced while threads use it."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import grpc

from embed_index.pipeline.milvus.address import MilvusAddress, explain_unreachable
from embed_index.pipeline.milvus.lite import LiteServer
from embed_index.pipeline.milvus.retry import (
    OutagePolicy,
    Verdict,
    call_patiently,
    explain,
    judge,
    own_words,
    rpc_status,
)
from embed_index.pipeline.milvus.sdk import MilvusClient
from embed_index.pipeline.milvus.tls import TlsFiles
from embed_index.schemas.errors import EmbedIndexError, StoreError
from embed_index.schemas.waits import WAITS

T = TypeVar("T")

# Milvus Lite's gRPC server cuts connections that ping more often; every call has a deadline anyway.
_GRPC_OPTIONS = {"grpc.keepalive_time_ms": 600_000}
_CONNECT_SECONDS = 10.0


class _SharedClient:
    """A client and the number of calls that use it, closed when retired and idle."""

    def __init__(self, client: MilvusClient) -> None:
        self.client = client
        self.num_calls = 0
        self.retired = False


class MilvusConnection:
    """A connection to one Milvus, safe to use from many threads."""

    def __init__(
        self,
        address: MilvusAddress,
        *,
        token: str,
        database: str,
        files: TlsFiles,
        policy: OutagePolicy,
        connect_seconds: float,
        call_seconds: float,
    ) -> None:
        """Connect, and prove that token and database are good.

        Args:
            address: Where Milvus is; an embedded one is started.
            token: `user:password` or an API key; empty for none.
            database: Empty for the default one.
            files: For TLS; checked.
            policy: How patient later calls are.
            connect_seconds: How long a server that does not answer is waited for.
            call_seconds: Deadline of one attempt, for those who make the calls.
        """
        # Every failed call is logged several times with its traceback; what fails is raised.
        for name in ("pymilvus", "milvus_lite", "grpc._server"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        files.check()
        self.address = address
        self.embedded = address.embedded_path is not None
        # Milvus Lite's graph loses rows where many are alike, and is not faster than a full scan.
        self.vector_index = "FLAT" if self.embedded else "AUTOINDEX"
        self.call_seconds = call_seconds
        self._token = token
        self._database = database
        self._files = files
        self._policy = policy
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._lite = None if address.embedded_path is None else LiteServer(address.embedded_path)
        try:
            self._shared = self._connect_first(connect_seconds)
        except BaseException:
            self._close_lite()
            raise

    def __repr__(self) -> str:
        return f"MilvusConnection({self.address.uri!r})"

    def call(
        self,
        action: Callable[[MilvusClient], T],
        *,
        doing: str,
        load: Callable[[MilvusClient], None] | None = None,
        policy: OutagePolicy | None = None,
    ) -> T:
        """Run one idempotent request, patiently.

        Args:
            action: One attempt; carries its own deadline.
            doing: What the error message says was tried.
            load: Brings the collection back into memory when Milvus says that it is not.
            policy: Instead of the connection's own.

        Raises:
            RequestTooLargeError: The request must be split.
            EmbedIndexError: Milvus refuses, or the outage lasted too long.
        """
        used: list[_SharedClient] = []

        def attempt() -> T:
            with self._borrow() as shared:
                used[:] = [shared]
                try:
                    return action(shared.client)
                except ValueError as error:
                    if self._stopped.is_set():
                        # gRPC's word for a channel that was closed under a call.
                        raise self._closed_error() from error
                    raise

        def prepare(verdict: Verdict) -> None:
            if verdict is Verdict.RECONNECT and used:
                self._renew(used[0])
            if verdict is Verdict.LOAD and load is not None:
                with self._borrow() as shared:
                    load(shared.client)

        def explain_error(error: Exception) -> EmbedIndexError:
            return explain(
                error, subject=f"{doing} in Milvus at {self.address.uri}", secret=self._token
            )

        def judge_error(error: Exception) -> Verdict:
            verdict = judge(error, embedded=self.embedded)
            return Verdict.FATAL if verdict is Verdict.LOAD and load is None else verdict

        with WAITS.waiting_for(f"Milvus at {self.address.uri}"):
            return call_patiently(
                attempt,
                policy=policy or self._policy,
                stopped=self._stopped,
                judge_error=judge_error,
                explain_error=explain_error,
                prepare=prepare,
            )

    def words_of(self, error: BaseException | None) -> str:
        """Return what Milvus itself said of what it was given, without the token."""
        # Of a filter, all fields, before the one that may have been meant.
        return "" if error is None else own_words(error, secret=self._token, max_chars=2000)

    def close(self) -> None:
        """Cut off calls and retries, release everything, an embedded database's lock included."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._shared.client.close()
        self._close_lite()

    def _closed_error(self) -> StoreError:
        return StoreError(f"the connection to Milvus at {self.address.uri} was closed")

    def _close_lite(self) -> None:
        if self._lite is not None:
            self._lite.close()

    def _connect_first(self, connect_seconds: float) -> _SharedClient:
        def attempt() -> _SharedClient:
            client = self._connect()
            try:
                client.list_collections(timeout=self.call_seconds)
            except BaseException:
                client.close()
                raise
            return _SharedClient(client)

        # The first attempt may fail late, and the last one begin just before the end.
        latest = connect_seconds + 2 * (_CONNECT_SECONDS + self.call_seconds)
        with WAITS.waiting_for(f"Milvus at {self.address.uri}", seconds=latest):
            return call_patiently(
                attempt,
                policy=OutagePolicy(retry_seconds=connect_seconds, doubt_seconds=0.0),
                stopped=self._stopped,
                judge_error=lambda error: judge(error, embedded=self.embedded),
                explain_error=self._explain_first,
            )

    def _explain_first(self, error: Exception) -> EmbedIndexError:
        unreachable = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        if not self.embedded and rpc_status(error) in unreachable:
            return explain_unreachable(self.address, files=self._files)
        return explain(error, subject=f"connecting to {self.address.uri}", secret=self._token)

    def _connect(self) -> MilvusClient:
        return MilvusClient(
            self.address.uri if self._lite is None else self._lite.uri,
            token=self._token,
            db_name=self._database,
            timeout=min(_CONNECT_SECONDS, self.call_seconds),
            # A shared connection is looked up by host and token alone, whatever its TLS options.
            dedicated=True,
            grpc_options=_GRPC_OPTIONS,
            **self._files.options(),
        )

    @contextlib.contextmanager
    def _borrow(self) -> Iterator[_SharedClient]:
        with self._lock:
            if self._stopped.is_set():
                raise self._closed_error()
            shared = self._shared
            shared.num_calls += 1
        try:
            yield shared
        finally:
            with self._lock:
                shared.num_calls -= 1
                idle = shared.retired and shared.num_calls == 0
            if idle:
                shared.client.close()

    def _renew(self, stale: _SharedClient) -> None:
        """Put a fresh client in the place of one that did not answer in time."""
        if stale.retired:
            return
        fresh = _SharedClient(self._connect())
        with self._lock:
            surplus = stale.retired or self._stopped.is_set()
            if not surplus:
                self._shared = fresh
        self._retire(fresh if surplus else stale)

    def _retire(self, shared: _SharedClient) -> None:
        with self._lock:
            idle = not shared.retired and shared.num_calls == 0
            shared.retired = True
        if idle:
            shared.client.close()
