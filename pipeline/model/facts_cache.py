"""The facts of tokenizers, kept in the state folder by the hash of the definition's bytes.

Whoever may write there decides anyway what is embedded: the ledger is there too. Nevertheless a
file counts only where it is this user's own and nobody else may write to it. One that is damaged,
foreign, or of other versions of the engines counts as missing, and is written anew.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import stat
import tempfile
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embed_index.pipeline.model.facts import TokenizerFacts

_FORMAT = 1
"""Raise it whenever something else is derived, or in another way."""

_DIGEST_BYTES = 32
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsCache:
    """Where the facts of one definition are kept."""

    folder: Path
    """Created when it is needed; the folder that it lies in must be there."""
    definition_hash: str
    """SHA-256 of the bytes of the `tokenizer.json`."""

    @property
    def file(self) -> Path:
        """One for each definition, so that jobs with two models share a state folder."""
        return self.folder / f"{self.definition_hash}.facts"

    def read(self) -> TokenizerFacts | None:
        """Return what was kept; None if it is not to be had, for whatever reason."""
        try:
            content = _read_own(self.file)
        except OSError:
            return None
        digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            return None
        head, _, lengths = body.partition(b"\n")
        entries = json.loads(head)
        if any(entries.pop(name, None) != value for name, value in self._origin().items()):
            return None
        entries["forms"] = tuple(entries["forms"])
        return TokenizerFacts(**entries, byte_lengths=np.frombuffer(lengths, dtype="<i4"))

    def write(self, facts: TokenizerFacts) -> None:
        """Keep facts in one step. Where that cannot be, the next run derives them again."""
        entries = asdict(facts)
        lengths = entries.pop("byte_lengths").astype("<i4").tobytes()
        body = json.dumps(self._origin() | entries).encode() + b"\n" + lengths
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            _replace(self.file, hashlib.sha256(body).digest() + body)

    def _origin(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "definition": self.definition_hash,
            "fastokens": importlib.metadata.version("fastokens"),
            "tokenizers": importlib.metadata.version("tokenizers"),
            "unicode": unicodedata.unidata_version,
        }


def _read_own(file: Path) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        is_own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if not is_own or found.st_mode & _WRITABLE_BY_OTHERS:
            raise PermissionError
        return opened.read()


def _replace(file: Path, content: bytes) -> None:
    """Readers see the old content or the new; nobody else may read the file, or write to it."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
