"""Milvus Lite behind a port, which stops answering one kind of call when it is told to."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from milvus_lite import MilvusLite
from milvus_lite.adapter.grpc.servicer import MilvusServicer

from embed_index.pipeline.milvus.sdk import milvus_pb2_grpc

_NUM_THREADS = 32
"""Whoever waits for an answer that does not come keeps one."""


class StallingMilvus(grpc.ServerInterceptor):  # type: ignore[misc]
    """The server in threads of this process, from entering to leaving."""

    def __init__(self, folder: Path, *, credentials: grpc.ServerCredentials | None = None) -> None:
        """Serve the database of a folder, which Milvus Lite made in some process."""
        self._database = MilvusLite(str(folder))
        self._stalled = ""
        self._may_answer = threading.Event()
        self._was_asked = threading.Event()
        self._threads = ThreadPoolExecutor(_NUM_THREADS)
        self._server = grpc.server(self._threads, interceptors=(self,))
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(
            MilvusServicer(self._database), self._server
        )
        if credentials is None:
            self.uri = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        else:
            port = self._server.add_secure_port("localhost:0", credentials)
            self.uri = f"https://localhost:{port}"

    @contextmanager
    def stalling(self, call: str) -> Iterator[threading.Event]:
        """Answer no call of this name, such as `Query`, within the context.

        Yields:
            Set as soon as one waits.
        """
        self._may_answer.clear()
        self._was_asked.clear()
        self._stalled = call
        try:
            yield self._was_asked
        finally:
            self._stalled = ""
            self._may_answer.set()

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """Have handlers wait that are told to."""
        handler = continuation(handler_call_details)
        name = handler_call_details.method.rpartition("/")[2]
        if handler is None or handler.unary_unary is None:
            return handler

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            if name == self._stalled:
                self._was_asked.set()
                self._may_answer.wait()
                context.abort(grpc.StatusCode.UNAVAILABLE, "stalled")
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._may_answer.set()
        self._server.stop(0).wait()
        self._threads.shutdown()
        self._database.close()
