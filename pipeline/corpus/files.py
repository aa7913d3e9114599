"""The files of a corpus, wherever they are: paths on this machine's disks, and files in stores."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from embed_index.pipeline.corpus.source import FileMemory
from embed_index.pipeline.storage.files import FileState, StoredFile, changed

CorpusFile = Path | StoredFile
"""As text it is its path or address."""

_DIGEST_BYTES = 16


@contextmanager
def kept_in_place(file: CorpusFile) -> Iterator[None]:
    """Look at a file on a disk in this context; what was taken away is named as changed."""
    try:
        yield
    except OSError as error:
        raise changed(file) from error


def state_of(file: CorpusFile) -> FileState:
    """Return what tells a file from one that replaced it.

    Raises:
        UnavailableError: It is there no more, or its store stays away.
    """
    if isinstance(file, StoredFile):
        return file.state()
    try:
        status = os.stat(file)  # noqa: PTH116 - of thousands
    except OSError as error:
        raise changed(file) from error
    return FileState(num_bytes=status.st_size, modified_ns=status.st_mtime_ns)


def check_unchanged(file: CorpusFile, before: FileState) -> None:
    """Compare a file with its `state_of` before it was read.

    Raises:
        UnavailableError: It was changed or taken away, or its store stays away.
    """
    if state_of(file) != before:
        raise changed(file)


def content_digest(
    file: CorpusFile, state: FileState, *, memory: FileMemory, reading: bytes
) -> bytes | None:
    """Return what is the same only for a file of the same content that is read in the same way.

    A store's word for it is its ETag, so that nothing need be fetched; a disk has none, and
    content is hashed. None where neither is to be had, or not worth it; what is wrong with a file
    is said when it is opened to be read.
    """
    if isinstance(file, Path):
        try:
            return memory.digest(file, num_bytes=state.num_bytes, reading=reading)
        except OSError:
            return None
    if not state.etag:
        return None
    # Some stores' ETags are times, which tell versions of one object apart, and not two objects.
    told = (reading, str(file).encode(), state.etag.encode(), str(state.num_bytes).encode())
    hashed = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in told:
        hashed.update(len(part).to_bytes(8, "little") + part)
    return hashed.digest()


def open_bytes(file: CorpusFile) -> BinaryIO:
    """Open a file for reading at any place.

    Raises:
        OSError: It cannot be opened on a disk.
        EmbedIndexError: It cannot be opened in a store.
    """
    if isinstance(file, StoredFile):
        # It reads and seeks, which is what is asked of it.
        return cast("BinaryIO", file.open())
    return file.open("rb")


def folders_of(file: CorpusFile) -> Sequence[str]:
    """Return the names of the folders that a file is in, from the top."""
    return file.folders if isinstance(file, StoredFile) else file.parent.parts
