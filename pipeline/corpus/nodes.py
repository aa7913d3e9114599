"""Folders and files as a search for a corpus sees them: on this machine's disks, and in stores.

What cannot be looked at is an error with its name, wherever it is.
"""

import os
import stat
from collections.abc import Hashable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self

from embed_index.pipeline.corpus.files import CorpusFile
from embed_index.pipeline.storage.files import StoredFile
from embed_index.pipeline.storage.store import Store
from embed_index.schemas.errors import ConfigurationError

_MEND_PLACE = (
    "Mend it or take it away: documents must not count as missing because nobody could look."
)


class Node(Protocol):
    """A path that may stand for a folder or a file."""

    @property
    def name(self) -> str:
        """Its last part."""

    def __str__(self) -> str:
        """Return the path or address in full."""

    def child(self, name: str) -> Self:
        """Return the path of what may stand in this folder."""

    def children(self) -> Sequence[Self]:
        """Return what stands in this folder, in order."""

    def exists(self) -> bool:
        """Tell whether it stands for something, be it a link to nowhere."""

    def is_folder(self) -> bool:
        """Tell whether it is a folder."""

    def is_file(self) -> bool:
        """Tell whether it is a file that can be read at any place."""

    def is_link(self) -> bool:
        """Tell whether what it stands for is elsewhere."""

    def identity(self) -> Hashable:
        """Return what is the same for all paths to this folder."""

    def resolved(self) -> Hashable:
        """Return what is the same for all links to this file, and its own for each hard link."""

    def parents(self) -> Sequence[Self]:
        """Return the folders that it is in, the nearest first."""

    def file(self) -> CorpusFile:
        """Return it as a file to read."""


class LocalNode:
    """A path on a disk."""

    def __init__(
        self, path: Path, *, kind: int | None = None, folder: "LocalNode | None" = None
    ) -> None:
        """Name a path.

        Args:
            path: Absolute.
            kind: As `stat.S_IFMT` has it, and no link; None if that is not known yet.
            folder: That it is in, if it is at hand.
        """
        self.path = path
        self.name = path.name
        self._kind = kind
        self._folder = folder

    def __str__(self) -> str:
        return str(self.path)

    def child(self, name: str) -> Self:
        """Return the path of what may stand in this folder."""
        return type(self)(self.path / name)

    def children(self) -> Sequence[Self]:
        """Return what stands in this folder, in order."""
        try:
            # Whoever may list a folder may not be let into it.
            os.stat(f"{self.path}/.")  # noqa: PTH116 - Path drops the dot
            with os.scandir(self.path) as entries:
                kinds = sorted((entry.name, _kind(entry)) for entry in entries)
        except OSError as error:
            raise _unseen(self.path, error) from error
        return [type(self)(self.path / name, kind=kind, folder=self) for name, kind in kinds]

    def exists(self) -> bool:
        """Tell whether it stands for something, be it a link to nowhere."""
        if self._kind is not None:
            return True
        try:
            self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _unseen(self.path, error) from error
        return True

    def is_folder(self) -> bool:
        """Tell whether it is a folder."""
        return stat.S_ISDIR(self._mode())

    def is_file(self) -> bool:
        """Tell whether it is a regular file."""
        return stat.S_ISREG(self._mode())

    def is_link(self) -> bool:
        """Tell whether it is a symbolic link."""
        return self._kind is None and os.path.islink(self.path)  # noqa: PTH114 - never raises

    def identity(self) -> Hashable:
        """Return device and inode."""
        status = self._status()
        return status.st_dev, status.st_ino

    def resolved(self) -> Hashable:
        """Return the path without links."""
        if self._folder is None or self.is_link():
            return str(self.path.resolve())
        return os.path.join(self._folder.real, self.name)  # noqa: PTH118 - of thousands

    def parents(self) -> Sequence[Self]:
        """Return the folders that it is in, the nearest first."""
        return [type(self)(path) for path in self.path.parents]

    def file(self) -> Path:
        """Return the path."""
        return self.path

    @cached_property
    def real(self) -> str:
        """The path without links, as it was when it was first asked for."""
        return str(self.path.resolve())

    def _mode(self) -> int:
        return self._status().st_mode if self._kind is None else self._kind

    def _status(self) -> os.stat_result:
        try:
            return self.path.stat()
        except OSError as error:
            raise _unseen(self.path, error) from error


class StoredNode:
    """A key in a store; what its folder's listing said of it is not asked again."""

    def __init__(self, store: Store, key: str, *, is_folder: bool | None = None) -> None:
        """Name a key.

        Args:
            store: Where it is.
            key: Without slashes around it; empty for everything.
            is_folder: None if that is not known yet.
        """
        self.store = store
        self.key = key
        self.name = key.rpartition("/")[2]
        self._is_folder = is_folder

    def __str__(self) -> str:
        return self.store.uri(self.key)

    def child(self, name: str) -> Self:
        """Return the key of what may stand in this folder."""
        return type(self)(self.store, self._below(name))

    def children(self) -> Sequence[Self]:
        """Return what stands in this folder, in order."""
        return [
            type(self)(self.store, self._below(entry.name), is_folder=entry.is_folder)
            for entry in self.store.entries(self.key)
        ]

    def exists(self) -> bool:
        """Tell whether something is there."""
        if self._is_folder is None:
            found = self.store.entry(self.key)
            if found is None:
                return False
            self._is_folder = found.is_folder
        return True

    def is_folder(self) -> bool:
        """Tell whether keys go on below it."""
        return self.exists() and bool(self._is_folder)

    def is_file(self) -> bool:
        """Tell whether it is an object."""
        return self.exists() and not self._is_folder

    def is_link(self) -> bool:
        """Tell that stores have no links."""
        return False

    def identity(self) -> Hashable:
        """Return its address."""
        return str(self)

    def resolved(self) -> Hashable:
        """Return its address."""
        return str(self)

    def parents(self) -> Sequence[Self]:
        """Return the folders that it is in, the nearest first."""
        parts = self.key.split("/") if self.key else []
        return [
            type(self)(self.store, "/".join(parts[:length]), is_folder=True)
            for length in reversed(range(len(parts)))
        ]

    def file(self) -> StoredFile:
        """Return the object as a file to read."""
        return self.store.file(self.key)

    def _below(self, name: str) -> str:
        return f"{self.key}/{name}" if self.key else name


def _kind(entry: os.DirEntry[str]) -> int | None:
    """Return what a folder's listing says of an entry; None of a link, which must be followed."""
    if entry.is_symlink():
        return None
    if entry.is_dir():
        return stat.S_IFDIR
    return stat.S_IFREG if entry.is_file() else stat.S_IFIFO


def _unseen(path: Path, error: OSError) -> ConfigurationError:
    reason = error.strerror or type(error).__name__
    if os.path.islink(path):  # noqa: PTH114 - never raises
        reason = f"is a link to {path.readlink()}, which cannot be followed: {reason}"
    else:
        reason = f"cannot be looked at: {reason}"
    return ConfigurationError(f"input: {path} {reason}", remedy=_MEND_PLACE)
