"""A real S3 interface (moto's server) and a proxy before it that stalls, resets and refuses."""

import os
import re
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import httpx

from embed_index.pipeline.storage.requests import Patience

KEY_ID = "AKIAIOSFODNN7PLANTED"
SECRET = "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"
HURRIED = Patience(
    read_seconds=1.0,
    listing_seconds=1.0,
    first_ceiling_seconds=0.01,
    max_ceiling_seconds=0.02,
    deadline_seconds=60.0,
)
"""Finds a stall soon, and tries again at once."""

_HOST = "127.0.0.1"
_RESET = struct.pack("ii", 1, 0)
_PIECE_BYTES = 1 << 16
_START_SECONDS = 60
_SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request,"
    " SignedHeaders=host, Signature=0"
}
"""moto does not check signatures, but lets nobody overwrite what is not anybody's."""

Fault = Literal["stall", "reset", "cut", "503", "403", "301", "skew", "unknown key"]
"""`stall` and `cut` come after half of the answer, `reset` before it."""

_ERRORS = {
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "403": (403, "AccessDenied", "Access Denied"),
    "301": (301, "PermanentRedirect", "Use the other endpoint."),
    "skew": (403, "RequestTimeTooSkewed", "The difference is too large."),
    "unknown key": (403, "InvalidAccessKeyId", f"The key {KEY_ID} does not exist."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, as a proxy sees it."""

    method: str
    target: str
    range: str

    @property
    def is_listing(self) -> bool:
        return "list-type=2" in self.target

    @property
    def is_read(self) -> bool:
        return self.method == "GET" and bool(self.range)


class ObjectStore:
    """A running server with S3's interface."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://{_HOST}:{port}"

    def make_bucket(self, bucket: str) -> None:
        httpx.put(f"{self.url}/{bucket}", headers=_SIGNED).raise_for_status()

    def put(self, bucket: str, key: str, content: bytes) -> None:
        url = f"{self.url}/{bucket}/{quote(key)}"
        httpx.put(url, content=content, headers=_SIGNED).raise_for_status()

    def put_tree(self, bucket: str, folder: Path, *, under: str) -> None:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                key = f"{under}/{file.relative_to(folder).as_posix()}"
                self.put(bucket, key, file.read_bytes())

    def delete(self, bucket: str, key: str) -> None:
        url = f"{self.url}/{bucket}/{quote(key)}"
        httpx.delete(url, headers=_SIGNED).raise_for_status()


@contextmanager
def running_store() -> Iterator[ObjectStore]:
    """Run moto's server in a process of its own, which ends with this context."""
    with socket.create_server((_HOST, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", _HOST, "-p", str(port)]
    environment = os.environ | {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        transport = httpx.HTTPTransport(retries=20)
        with httpx.Client(transport=transport, timeout=_START_SECONDS) as client:
            client.get(f"http://{_HOST}:{port}/moto-api/").raise_for_status()
        yield ObjectStore(port)
    finally:
        process.kill()
        process.wait()


class FaultyProxy:
    """Passes requests on to a store, except those for which `choose` names a fault."""

    def __init__(self, store: ObjectStore, choose: Callable[[Asked], Fault | None]) -> None:
        self.asked: list[Asked] = []
        self.done: Counter[str] = Counter()
        """Faults by name."""
        self._store = store
        self._choose = choose
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server((_HOST, 0), backlog=128)
        self.url = f"http://{_HOST}:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Let go of what was stalled, and end."""
        self._released.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head, rest = _read_head(client)
            if not head:
                return
            method, target, _ = head.split("\r\n", 1)[0].split(" ", 2)
            asked = Asked(method=method, target=target, range=_header(head, "range"))
            with self._lock:
                self.asked.append(asked)
                fault = self._choose(asked)
                self.done.update([fault] if fault else [])
            if fault == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            elif fault == "stall" and method == "HEAD":
                self._released.wait()
            elif fault in _ERRORS:
                client.sendall(_error(*_ERRORS[fault]))
            else:
                self._pass_on(client, head, rest, fault=fault)

    def _pass_on(
        self, client: socket.socket, head: str, rest: bytes, *, fault: Fault | None
    ) -> None:
        with socket.create_connection((_HOST, self._store.port)) as upstream:
            closing = re.sub(r"(?i)\r\nconnection:[^\r]*", "", head)
            upstream.sendall(f"{closing}\r\nConnection: close\r\n\r\n".encode("latin-1") + rest)
            answer, body = _read_head(upstream)
            answer = re.sub(r"(?i)\r\nconnection:[^\r]*", "", answer)
            client.sendall(f"{answer}\r\nConnection: close\r\n\r\n".encode("latin-1"))
            left = int(_header(answer, "content-length") or 0) // 2 if fault else sys.maxsize
            body = body or upstream.recv(_PIECE_BYTES)
            while body and left > 0:
                client.sendall(body[:left])
                left -= len(body)
                body = upstream.recv(_PIECE_BYTES)
        if fault == "stall":
            self._released.wait()


@contextmanager
def faulty_proxy(
    store: ObjectStore, choose: Callable[[Asked], Fault | None] = lambda _: None
) -> Iterator[FaultyProxy]:
    """Run a proxy before a store."""
    proxy = FaultyProxy(store, choose)
    try:
        yield proxy
    finally:
        proxy.close()


def _read_head(connection: socket.socket) -> tuple[str, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(_PIECE_BYTES)
        if not piece:
            return "", b""
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    return head.decode("latin-1"), rest


def _header(head: str, name: str) -> str:
    found = re.search(rf"(?i)\r\n{name}: *([^\r]*)", head)
    return found[1] if found else ""


def _error(status: int, code: str, message: str) -> bytes:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    head = f"HTTP/1.1 {status} Refused\r\nContent-Type: application/xml\r\nConnection: close"
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
