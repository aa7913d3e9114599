"""How a server learns its keys while it runs: lines of JSON from our process to guard and gate.

The guard takes the keys themselves out of each line, since it masks them in the log, and hands the
rest on. So the process that becomes SGLang is told fingerprints alone.
"""

import contextlib
import os
from dataclasses import asdict

import orjson
from pydantic import SecretStr

from embed_index.pipeline.secrecy.keyring import HashedKey, Keyring, hash_key
from embed_index.pipeline.secrecy.redaction import KeyRedactor
from embed_index.pipeline.server.admission import Admission

_PIPE_BYTES = 65_536


def as_line(keyring: Keyring, *, owner: SecretStr, parent: int) -> bytes:
    """Return all keys of a server, from now on, as one line.

    Args:
        keyring: What others may ask with.
        owner: The key of the process that started the server.
        parent: That process.
    """
    return orjson.dumps(
        {
            "parent": parent,
            "secrets": [secret.get_secret_value() for secret in (*keyring.secrets, owner)],
            "keys": [asdict(key) for key in (*keyring.hashed, hash_key(owner, name=""))],
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


class GuardsEnd:
    """What the guard makes of the lines."""

    def __init__(self, gate: int, *, redactor: KeyRedactor) -> None:
        """Hand fingerprints on to a pipe; tell `redactor` the keys."""
        self.redactor = redactor
        self.parent: int | None = None
        """The process that started the server; None until it has said so."""
        self._gate = gate
        self._begun = b""

    def feed(self, piece: bytes) -> None:
        """Take what came, be it more or less than a line."""
        *lines, self._begun = (self._begun + piece).split(b"\n")
        for line in lines:
            told = orjson.loads(line)
            self.parent = told["parent"]
            self.redactor.remember(*(secret.encode() for secret in told["secrets"]))
            # The server may be at its end.
            with contextlib.suppress(BrokenPipeError):
                _write_all(self._gate, orjson.dumps(told["keys"]) + b"\n")


def follow(keys: int, admission: Admission) -> None:
    """Take the keys of each line that comes, until the guard's end; the gate's side.

    It reads without Python's buffers: their locks would stay locked for ever in a process that is
    forked meanwhile.
    """
    begun = b""
    while piece := os.read(keys, _PIPE_BYTES):
        *lines, begun = (begun + piece).split(b"\n")
        for line in lines:
            admission.take(HashedKey(**key) for key in orjson.loads(line))


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
