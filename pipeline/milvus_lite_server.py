"""Milvus Lite in our own process, reachable by nobody else.

pymilvus would start it on an unauthenticated TCP port of the loopback interface, where any local
user can read and drop collections; here it listens on a socket in a private folder. pymilvus also
keeps its lock until the process ends; here closing releases it.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from milvus_lite import DataDirLockedError, MilvusLite
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from pymilvus.grpc_gen import milvus_pb2_grpc

from embed_index.schemas.errors import ConfigurationError, StoreError

_MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_NUM_THREADS = 10
_GRACE_SECONDS = 10.0


class LiteServer:
    """One open Milvus Lite folder behind a private socket."""

    def __init__(self, path: Path) -> None:
        """Open the folder, creating it and its parents.

        Raises:
            StoreError: Another process has it open.
            ConfigurationError: The path cannot be a Milvus Lite folder.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = MilvusLite(str(path))
        except DataDirLockedError as error:
            raise StoreError(
                f"Milvus Lite at {path} is open in another process",
                remedy="Wait until that one ends, or run a Milvus server for use by several.",
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"Milvus Lite cannot be opened at {path}: {error.strerror}",
                remedy="Give a path whose folder is writable; old single-file databases are "
                "not readable, choose a new name for those.",
            ) from error
        self._folder = tempfile.TemporaryDirectory(prefix="embed-index-")
        self.uri = f"unix:{self._folder.name}/milvus.sock"
        self._server = grpc.server(
            ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="milvus-lite"),
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
        self._database.close()
        self._folder.cleanup()
