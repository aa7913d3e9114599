"""An embedding server that answers at once, so that what is measured is everything else.

    python tests/benchmarks/instant_server.py PORT KEY

It speaks the little HTTP that clients need, takes texts as well as token ids, and tells at
`/num_inputs` how many it embedded. All vectors are drawn once and are the same for all inputs, so
nothing that it returns is fit for search.
"""

import asyncio
import base64
import random
import struct
import sys
from typing import Any

import orjson

WIDTH = 4096


class InstantServer:
    def __init__(self, key: str) -> None:
        self._header = f"authorization: bearer {key}".lower().encode()
        rng = random.Random(0)
        self._values = [rng.gauss(0, 1) for _ in range(WIDTH)]
        self._replies: dict[tuple[int, int], bytes] = {}
        self._num_inputs = 0

    async def serve(self, port: int) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", port, limit=1 << 26)
        print("ready", flush=True)
        async with server:
            await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = 0
                for line in head.split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                body = await reader.readexactly(length)
                status, reply = self._answer(head, body)
                writer.write(
                    b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                    % (status, len(reply), reply)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            writer.close()

    def _answer(self, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        if self._header not in head:
            return b"401 Unauthorized", b'{"error":"Unauthorized"}'
        if head.startswith(b"get /num_inputs "):
            return b"200 OK", b"%d" % self._num_inputs
        if not head.startswith(b"post /v1/embeddings"):
            return b"404 Not Found", b"{}"
        num_inputs, options = self._read(body)
        self._num_inputs += num_inputs
        return b"200 OK", self._reply(num_inputs, int(options.get("dimensions") or WIDTH))

    def _read(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Return how many inputs a request has, and what else it says."""
        if b'"input":["' in body:
            options = orjson.loads(body)
            return len(options["input"]), options
        # Parsing every id would make the server the slowest part.
        tail = orjson.loads(b"{" + body[body.rindex(b"]") + 2 :]) if b'"input"' in body else {}
        front = orjson.loads(body[: body.index(b'"input"')] + b'"input":0}')
        return body.count(b"],[") + 1, {**front, **tail}

    def _reply(self, num_inputs: int, dimension: int) -> bytes:
        if (num_inputs, dimension) not in self._replies:
            vector = base64.b64encode(struct.pack(f"<{dimension}f", *self._values[:dimension]))
            self._replies[num_inputs, dimension] = orjson.dumps(
                {
                    "object": "list",
                    "model": "instant",
                    "data": [
                        {"object": "embedding", "index": index, "embedding": vector.decode()}
                        for index in range(num_inputs)
                    ],
                }
            )
        return self._replies[num_inputs, dimension]


if __name__ == "__main__":
    asyncio.run(InstantServer(sys.argv[2]).serve(int(sys.argv[1])))
