"""Milvus Lite in our own process, reachable by nobody else.

pymilvus would start it on an unauthenticated TCP port of the loopback interface, where any local
user can read and drop collections; here it listens on a socket in a private folder. pymilvus also
keeps its lock until the process ends; here closing releases it.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from embed_index.pipeline.disk.errors import explain_disk
from embed_index.pipeline.milvus_lite_writes import DurableWrites
from embed_index.pipeline.milvus_sdk import milvus_pb2_grpc
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
        self.uri = f"unix:{self._folder.name}/milvus.sock"
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
        self._folder.cleanup()
