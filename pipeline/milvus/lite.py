"""Milvus Lite in our own process: reachable by nobody else, and with writes that outlive a crash.

pymilvus would start it on an unauthenticated TCP port of the loopback interface, where any local
user can read and drop collections; here it listens on a socket in a private folder. pymilvus also
keeps its lock until the process ends; here closing releases it.

Milvus Lite acknowledges what the operating system has, not the disk. And it goes on after a write
that failed: what a failed flush was about to write is then in its log alone, which the next flush
deletes. Here a write is acknowledged once it is on the disk, and the first one that fails is the
last one: opening the folder again reads the log.
"""

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from embed_index.pipeline.disk.errors import explain_disk
from embed_index.pipeline.milvus.retry import EMBEDDED_WRITE_FAILED
from embed_index.pipeline.milvus.sdk import common_pb2, milvus_pb2, milvus_pb2_grpc
from embed_index.schemas.errors import StoreError

_MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_NUM_THREADS = 10
_GRACE_SECONDS = 10.0


class LiteServer:
    """One open Milvus Lite folder behind a private socket."""

    def __init__(self, path: Path) -> None:
        """Open the folder, creating it and its parents.

        Raises:
            StoreError: Another process has it open.
            UnavailableError: The disk is full or fails.
            ConfigurationError: The path cannot be a Milvus Lite folder.
        """
        # Imported here because they bring an index library, which a run on a server does not need.
        from milvus_lite import DataDirLockedError, MilvusLite
        from milvus_lite.adapter.grpc.servicer import MilvusServicer

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = MilvusLite(str(path))
        except DataDirLockedError as error:
            raise StoreError(
                f"Milvus Lite at {path} is open in another process",
                remedy="Wait until that one ends, or run a Milvus server for use by several.",
            ) from error
        except OSError as error:
            raise explain_disk(
                error,
                subject=f"Milvus Lite cannot be opened at {path}",
                remedy="Give a path whose folder is writable; old single-file databases are "
                "not readable, choose a new name for those.",
            ) from error
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="embed-index-")
        except OSError as error:
            self._database.close()
            raise explain_disk(
                error,
                subject="no folder can be made for Milvus Lite's socket",
                remedy="Set TMPDIR to a folder that you may write to.",
            ) from error
        _keep_dictionary_in(self._folder.name)
        # A socket's path has up to 107 bytes, and TMPDIR may be longer than that.
        self._descriptor = os.open(self._folder.name, os.O_RDONLY | os.O_DIRECTORY)
        self.uri = f"unix:/proc/self/fd/{self._descriptor}/milvus.sock"
        self._writes = DurableWrites(path)
        self._server = grpc.server(
            ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="milvus-lite"),
            interceptors=(self._writes,),
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ],
        )
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(
            MilvusServicer(self._database), self._server
        )
        self._server.add_insecure_port(self.uri)
        self._server.start()

    def close(self) -> None:
        """Let calls end, close the database and release its lock."""
        self._server.stop(_GRACE_SECONDS).wait()
        if self._writes.failure:
            # Closing would flush what came after the failure, and delete the log of all before.
            self._database._release_lock()  # noqa: SLF001 - there is no other way
        else:
            self._database.close()
        os.close(self._descriptor)
        self._folder.cleanup()


def _keep_dictionary_in(folder: str) -> None:
    """Have jieba, which takes Chinese apart, use no file that somebody else may have written.

    It would take its dictionary, with marshal, from one name in the temporary folder of all. And it
    tells standard error each time how long that took.
    """
    logging.getLogger("jieba").disabled = True
    try:
        import jieba
    except ImportError:
        return
    jieba.dt.tmp_dir = folder


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
