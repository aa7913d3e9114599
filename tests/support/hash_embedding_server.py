"""A loopback embeddings server without a model: vectors are drawn from a hash of the token ids.

    python tests/support/hash_embedding_server.py PORT

Equal ids get equal vectors, different ones nearly orthogonal ones, whatever the batch. It speaks
what the client needs of HTTP and asks for its key. `salt` makes it another model; `plain` knows
neither base64 nor widths, `max_inputs` is the most that it takes in one request, and `says` is what
it says of itself, as SGLang's /server_info does.
"""

import base64
import hashlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Self

import numpy as np
import orjson

KEY = "hash-server-key-51c7"
WIDTH = 512


def vector_of(token_ids: list[int], *, dimension: int = WIDTH, salt: str = "") -> bytes:
    """Return little-endian float32 of unit length, cut before it is normalised."""
    packed = np.asarray(token_ids, dtype="<i4").tobytes()
    digest = hashlib.blake2b(packed, key=salt.encode(), digest_size=16).digest()
    drawn = np.random.default_rng(int.from_bytes(digest, "little")).standard_normal(WIDTH)
    cut = drawn[:dimension]
    return (cut / np.linalg.norm(cut)).astype("<f4").tobytes()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    key: ClassVar[str] = KEY
    salt: str = ""
    plain: bool = False
    max_inputs: float = float("inf")
    says: Mapping[str, str] | None = None
    num_embedded: int = 0
    """Inputs answered so far, canaries and probes included."""
    changes_after: float = float("inf")
    next_salt: str = ""
    num_requests: int = 0
    refuses: Callable[[list[int]], bool] = staticmethod(lambda _: False)
    spoils: Callable[[list[int]], bool] = staticmethod(lambda _: False)
    may_answer: ClassVar[threading.Event]
    was_asked: ClassVar[threading.Event]
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).num_requests += 1
        if self.headers["Authorization"] != f"Bearer {self.key}":
            self._answer(401, {"error": "Unauthorized"})
        elif self.path != "/v1/embeddings":
            self._answer(404, {})
        else:
            asked = orjson.loads(body)
            if self.plain and {"encoding_format", "dimensions"} & asked.keys():
                self._answer(422, {"detail": "extra fields not permitted"})
                return
            if len(asked["input"]) > self.max_inputs:
                self._answer(413, {"error": f"at most {self.max_inputs} inputs"})
                return
            dimension = asked.get("dimensions") or WIDTH
            if any(map(self.refuses, asked["input"])):
                self._answer(400, {"error": "refused"})
                return
            self.was_asked.set()
            self.may_answer.wait()
            vectors = [
                bytes(4 * dimension)
                if self.spoils(i)
                else vector_of(i, dimension=dimension, salt=self.salt)
                for i in asked["input"]
            ]
            type(self).num_embedded += len(vectors)
            if self.num_embedded >= self.changes_after:
                type(self).salt = self.next_salt
            self._answer(
                200,
                {
                    "data": [
                        {"index": place, "embedding": self._written(vector)}
                        for place, vector in enumerate(vectors)
                    ]
                },
            )

    def _written(self, vector: bytes) -> str | list[float]:
        if self.plain:
            return np.frombuffer(vector, dtype="<f4").tolist()  # type: ignore[no-any-return]
        return base64.b64encode(vector).decode()

    def do_GET(self) -> None:
        if self.says is None or self.path != "/server_info":
            self._answer(404, {})
        else:
            self._answer(200, self.says)

    def _answer(self, status: int, reply: object) -> None:
        content = orjson.dumps(reply)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that are gone before they have their answer."""


class HashEmbeddingServer:
    """The server in threads of this process, from entering to leaving."""

    def __init__(
        self,
        *,
        port: int = 0,
        salt: str = "",
        plain: bool = False,
        max_inputs: float = float("inf"),
        says: Mapping[str, str] | None = None,
    ) -> None:
        class Handler(_Handler):
            """With counters of its own."""

        Handler.salt, Handler.plain, Handler.max_inputs = salt, plain, max_inputs
        Handler.was_asked = threading.Event()
        Handler.says = says
        Handler.may_answer = threading.Event()
        Handler.may_answer.set()
        self._handler = Handler
        self._server = _Server(("127.0.0.1", port), self._handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.key = KEY
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def num_embedded(self) -> int:
        return self._handler.num_embedded

    @property
    def num_requests(self) -> int:
        """With vectors asked for, probes included."""
        return self._handler.num_requests

    def change_after(self, num_embedded: int, *, salt: str) -> None:
        """Become another model once so many inputs were answered."""
        self._handler.changes_after, self._handler.next_salt = num_embedded, salt

    def refuse(self, refuses: Callable[[list[int]], bool]) -> None:
        """Answer 400 from now on where this is true of an input."""
        self._handler.refuses = staticmethod(refuses)

    def spoil(self, spoils: Callable[[list[int]], bool]) -> None:
        """Give zeros for a vector from now on where this is true of an input."""
        self._handler.spoils = staticmethod(spoils)

    @contextmanager
    def silent(self) -> Iterator[threading.Event]:
        """Give no vectors until told to, or until the block is left; requests wait.

        Yields:
            Set as soon as one waits.
        """
        self._handler.may_answer.clear()
        self._handler.was_asked.clear()
        try:
            yield self._handler.was_asked
        finally:
            self.answer()

    def answer(self) -> None:
        """Be silent no longer."""
        self._handler.may_answer.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


if __name__ == "__main__":
    with HashEmbeddingServer(port=int(sys.argv[1])) as running:
        sys.stdout.write(f"ready {running.url}\n")
        sys.stdout.flush()
        threading.Event().wait()
