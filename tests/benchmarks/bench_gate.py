"""What the gate costs: requests a second of an app that answers at once, with it and without.

    python tests/benchmarks/bench_gate.py

Server and client are processes of their own, on loopback; the ways take turns, and the median of
the rounds is printed, as is the time of a request within the process, without HTTP.
"""

import asyncio
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import SecretStr

from embed_index.pipeline.secrecy.keyring import hash_key
from embed_index.pipeline.server.access_log import AccessLog
from embed_index.pipeline.server.admission import Admission
from embed_index.pipeline.server.gate import KeyGate
from embed_index.pipeline.server.launch_checks import free_port

NUM_CONNECTIONS = 8
NUM_REQUESTS = 8_000
NUM_ROUNDS = 15
NUM_NAMES = 200
KEY = "ei-" + "k" * 43
BODY = json.dumps({"input": [list(range(30))], "model": "m"}).encode()
REPLY = b'{"data":[],"usage":{"prompt_tokens":30,"total_tokens":30}}'


async def instant(_: Any, receive: Any, send: Any) -> None:
    """Answer as fast as an application can."""
    await receive()
    headers = [(b"content-length", str(len(REPLY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": REPLY})


def make(way: str, folder: Path) -> Any:
    """Return the application behind a gate of one kind, or as it is."""
    if way == "no gate":
        return instant
    names = [hash_key(SecretStr(f"ei-{n:043}"), name=f"n{n}") for n in range(NUM_NAMES)]
    scope: dict[str, Any] = {"per_minute": 999_999} if way == "named, logged" else {}
    if way == "query-only, logged":
        scope = {"query_only": True, "per_minute": 999_999}
    key = hash_key(SecretStr(KEY), name="" if way == "owner's key" else "bench", **scope)
    log = AccessLog(folder / "access.log")
    return KeyGate(instant, admission=Admission([*names, key]), inner_key="ei-inner", log=log)


WAYS = ("no gate", "owner's key", "named, logged", "query-only, logged")


def serve(way: str, folder: Path, port: int) -> None:
    """Serve as SGLang does."""
    uvicorn.run(
        make(way, folder),
        host="127.0.0.1",
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        loop="uvloop",
    )


def request() -> bytes:
    """Return what each connection sends again and again."""
    lines = (
        *("POST /v1/embeddings HTTP/1.1", "Host: x", f"Authorization: Bearer {KEY}"),
        *("Content-Type: application/json", f"Content-Length: {len(BODY)}", "", ""),
    )
    return "\r\n".join(lines).encode() + BODY


async def ask(port: int, num_requests: int) -> None:
    """Send requests over one connection, each when the one before is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = request()
    for _ in range(num_requests):
        writer.write(asked)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(len(REPLY))
    writer.close()


async def requests_per_second(port: int) -> float:
    """Return what all connections together get."""
    began = time.perf_counter()
    each = NUM_REQUESTS // NUM_CONNECTIONS
    await asyncio.gather(*(ask(port, each) for _ in range(NUM_CONNECTIONS)))
    return NUM_REQUESTS / (time.perf_counter() - began)


async def microseconds(way: str, folder: Path) -> float:
    """Return the time of one request within this process."""
    app = make(way, folder)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/embeddings",
        "headers": [
            *((b"host", b"x"), (b"authorization", f"Bearer {KEY}".encode())),
            *((b"content-type", b"application/json"), (b"content-length", b"100")),
        ],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(_: Any) -> None:
        return

    began = time.perf_counter()
    for _ in range(NUM_REQUESTS):
        await app(scope, receive, send)
    return (time.perf_counter() - began) / NUM_REQUESTS * 1e6


async def measure(folder: Path) -> None:
    """Print a line for each way."""
    spawn = multiprocessing.get_context("spawn")
    ports = {way: free_port() for way in WAYS}
    servers = [spawn.Process(target=serve, args=(w, folder, p)) for w, p in ports.items()]
    for server in servers:
        server.start()
    try:
        await asyncio.sleep(5)
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(NUM_ROUNDS):
            for way in random.sample(WAYS, len(WAYS)):
                rates[way].append(await requests_per_second(ports[way]))
    finally:
        for server in servers:
            server.terminate()
    plain = statistics.median(rates["no gate"])
    print(f"{'way':<20} {'requests/s':>10} {'of no gate':>10} {'us inside':>10}")
    for way in WAYS:
        rate = statistics.median(rates[way])
        inside = min([await microseconds(way, folder) for _ in range(3)])
        print(f"{way:<20} {rate:>10.0f} {rate / plain:>10.2f} {inside:>10.1f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(measure(Path(name)))
