"""A look at each file before it is read: how it is now, and whether a memory knows its content."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from embed_index.pipeline.corpus.files import (
    CorpusFile,
    check_unchanged,
    content_digest,
    state_of,
)
from embed_index.pipeline.corpus.footers import Reading
from embed_index.pipeline.corpus.source import FileMemory, HashedFile
from embed_index.pipeline.storage.files import FileState

_MAX_RUN_FILES = 256
_MAX_RUN_BYTES = 64 << 20


class Look(NamedTuple):
    """A file as it was just before it was to be read."""

    file: CorpusFile
    name: str
    state: FileState
    digest: bytes | None
    """None where none was to be had."""
    is_known: bool
    """Whether the memory has met a file of this content."""

    def hashed(self) -> HashedFile:
        """Return what a memory is told of a file that it knows."""
        assert self.digest is not None
        return HashedFile(self.digest, self.name, self.state.modified_ns)

    def check_unchanged(self) -> None:
        """Compare the file with what it was.

        Raises:
            UnavailableError: It was changed or taken away, or its store stays away.
        """
        check_unchanged(self.file, self.state)


def runs(
    files: Iterable[tuple[CorpusFile, str]], *, memory: FileMemory | None, reading: Reading
) -> Iterator[list[Look]]:
    """Yield looks at files in order: of those that memory knows some at once, others one by one.

    Args:
        files: With their names.
        memory: None where nothing is remembered.
        reading: How the files are read.

    Raises:
        UnavailableError: A file is there no more, or its store stays away.
    """
    known: list[Look] = []
    num_bytes = 0
    for file, name in files:
        look = _look(file, name, memory=memory, reading=reading)
        if look.is_known:
            known.append(look)
            num_bytes += look.state.num_bytes
        if known and (
            not look.is_known or len(known) == _MAX_RUN_FILES or num_bytes > _MAX_RUN_BYTES
        ):
            yield known
            known, num_bytes = [], 0
        if not look.is_known:
            yield [look]
    if known:
        yield known


def _look(file: CorpusFile, name: str, *, memory: FileMemory | None, reading: Reading) -> Look:
    state = state_of(file)
    if memory is None:
        return Look(file, name, state, None, is_known=False)
    told = reading.of_file(file, name)
    digest = content_digest(file, state, memory=memory, reading=told)
    return Look(file, name, state, digest, digest is not None and memory.knows(digest))
