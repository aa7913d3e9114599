"""Files that need not be read, because every byte of them is as it was.

A file is hashed whole, which is several times cheaper than reading rows out of it. When the ledger
knows the hash, and all that it says of the file's documents still holds, they are unchanged.

Hashing a file that no later pass will meet again is wasted. So a large one is hashed when nothing
is known yet, or when the last pass had a file of its size; a corpus that is written anew every
night is read as ever.
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from embed_index.pipeline.corpus.source import HashedFile
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.files import FileLedger, KnownFile
from embed_index.pipeline.stages.comparison import CorpusPass
from embed_index.pipeline.stages.stopping import stoppable
from embed_index.pipeline.stages.tally import RunTally
from embed_index.schemas.records import FileRecord

_DIGEST_BYTES = 16
_BLOCK_BYTES = 1 << 20
_SMALL_BYTES = 1 << 20
"""What is no larger is always hashed."""


@lru_cache(maxsize=16)
def _hasher(reading: bytes) -> hashlib.blake2b:
    key = hashlib.blake2b(reading, digest_size=_DIGEST_BYTES).digest()
    return hashlib.blake2b(key=key, digest_size=_DIGEST_BYTES)


class FileMemory:
    """Remembers the files of a version's last complete pass, and this pass's for the next one."""

    def __init__(
        self,
        documents: DocumentLedger,
        *,
        corpus_pass: CorpusPass,
        tally: RunTally,
        stopping: threading.Event,
    ) -> None:
        """Begin a pass.

        Args:
            documents: Of the version that the corpus is compared with.
            corpus_pass: Meets the documents of files that are known.
            tally: Counts them.
            stopping: Set when the pass is to end, which `until_stopped` then does.
        """
        self._files = FileLedger(documents.file)
        self._version_id = documents.version_id
        self._corpus_pass = corpus_pass
        self._tally = tally
        self._stopping = stopping
        self._before = self._files.of_version(self._version_id)
        self._by_digest = {x.file.digest: x for x in self._before.values() if x.file.digest}
        self._sizes = {known.file.num_bytes for known in self._before.values()}
        self._noted: list[FileRecord] = []
        self._met: list[KnownFile] = []

    def digest(self, file: Path, *, num_bytes: int, reading: bytes) -> bytes | None:
        """Return a digest of a file's bytes and of how they are read; None if it is not worth it.

        Raises:
            OSError: The file cannot be read.
        """
        if self._before and num_bytes > _SMALL_BYTES and num_bytes not in self._sizes:
            return None
        hashed = _hasher(reading).copy()
        with file.open("rb", buffering=0) as opened:
            blocks = iter(lambda: opened.read(_BLOCK_BYTES), b"")
            for block in stoppable(blocks, self._stopping):
                hashed.update(block)
        return hashed.digest()

    def knows(self, digest: bytes) -> bool:
        """Tell whether the last pass had such a file."""
        return digest in self._by_digest

    def holds(self, files: Sequence[HashedFile]) -> bool:
        """Tell whether all documents of files that are known are as they were; then they are met.

        Those that stand before them in the corpus must be met already.
        """
        known = [self._by_digest[file.digest] for file in files]
        if not self._corpus_pass.meet([digest for each in known for digest in each.stretches]):
            return False
        for (_, name, modified_ns), each in zip(files, known, strict=True):
            if (each.file.name, each.file.modified_ns) == (name, modified_ns):
                self._met.append(each)
            else:
                file = replace(each.file, name=name, modified_ns=modified_ns)
                self._met.append(each._replace(file=file))
        num_rows = sum(each.file.num_rows for each in known)
        self._tally.num_documents_read += num_rows
        self._tally.num_unchanged += num_rows
        self._tally.num_documents_done += num_rows
        return True

    def note(self, file: FileRecord) -> None:
        """Take note of a file that was read to its end."""
        self._noted.append(file)

    def seal(self, stretches: set[bytes]) -> None:
        """Let the next pass know this pass's files, as far as every row of them was a document.

        Args:
            stretches: Digests of those that the ledger knows from now on.
        """
        now = {known.file.name: known for known in self._met}
        for file in self._noted:
            digests, num_documents = self._corpus_pass.stretches_of(file.name)
            if num_documents == file.num_rows and stretches.issuperset(digests):
                now[file.name] = KnownFile(file, tuple(digests))
        written = [known for name, known in now.items() if self._before.get(name) != known]
        removed = self._before.keys() - now.keys()
        if written or removed:
            self._files.replace(self._version_id, written=written, removed=removed)
