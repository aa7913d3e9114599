"""How the server's own process gets its key."""

import os

from embed_index.pipeline.server.child import _read_line


def test_a_key_as_long_as_a_signed_token_is_read_whole() -> None:
    line = b"4711 " + b"k" * 8_000
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as pipe, os.fdopen(writing, "wb") as parent:
        parent.write(line + b"\nwhat comes later")
        parent.flush()

        assert _read_line(pipe.fileno()) == line
        assert pipe.read(4) == b"what"
