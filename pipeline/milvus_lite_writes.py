"""Writes to Milvus Lite that outlive a power cut and a full disk.

Milvus Lite acknowledges what the operating system has, not the disk. And it goes on after a write
that failed: what a failed flush was about to write is then in its log alone, which the next flush
deletes. Here a write is acknowledged once it is on the disk, and the first one that fails is the
last one: opening the folder again reads the log.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc

from embed_index.pipeline.milvus_retry import EMBEDDED_WRITE_FAILED
from embed_index.pipeline.milvus_sdk import common_pb2, milvus_pb2

_REPLIES: Mapping[str, Callable[..., Any]] = {
    "/milvus.proto.milvus.MilvusService/Upsert": milvus_pb2.MutationResult,
    "/milvus.proto.milvus.MilvusService/Delete": milvus_pb2.MutationResult,
    "/milvus.proto.milvus.MilvusService/Flush": milvus_pb2.FlushResponse,
}
_UNEXPECTED = 1
"""Milvus Lite's code for whatever it did not foresee, such as a full disk."""


class DurableWrites(grpc.ServerInterceptor):  # type: ignore[misc]
    """Stands before Milvus Lite's own answers to writes."""

    def __init__(self, folder: Path) -> None:
        """Guard a database.

        Args:
            folder: Of the database.
        """
        self.failure = ""
        """What the first write that failed says; empty for none."""
        self._folder = folder
        self._synced: dict[Path, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """Wrap the handlers of calls that write."""
        handler = continuation(handler_call_details)
        refusal = _REPLIES.get(handler_call_details.method)
        if refusal is None:
            return handler

        def write(request: Any, context: grpc.ServicerContext) -> Any:
            reply = None if self.failure else handler.unary_unary(request, context)
            if reply is not None and reply.status.code == _UNEXPECTED:
                self.failure = reply.status.reason
            elif reply is not None and not reply.status.code:
                self._sync()
            if not self.failure:
                return reply
            status = common_pb2.Status(code=EMBEDDED_WRITE_FAILED, reason=self.failure)
            return refusal(status=status)

        return grpc.unary_unary_rpc_method_handler(
            write,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _sync(self) -> None:
        """Bring to the disk what has changed since the last time, files before their folders."""
        with self._lock:
            try:
                for parent, _, names in os.walk(self._folder, topdown=False):
                    paths = [Path(parent) / name for name in names]
                    if changed := [path for path in paths if self._has_changed(path)]:
                        for path in (*changed, Path(parent)):
                            _fsync(path)
            except OSError as error:
                self.failure = str(error)

    def _has_changed(self, path: Path) -> bool:
        try:
            now = path.stat()
        except FileNotFoundError:
            return False
        state = (now.st_size, now.st_mtime_ns)
        if self._synced.get(path) == state:
            return False
        self._synced[path] = state
        return True


def _fsync(path: Path) -> None:
    # Milvus Lite merges segments in the background, and drops the merged ones.
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
