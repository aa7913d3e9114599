"""Stores looked at: what stands in a folder, what is at an address, and files to read."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from embed_index.pipeline.storage.address import StorageAddress
from embed_index.pipeline.storage.files import FileState, Opened, StoredFile
from embed_index.pipeline.storage.requests import PATIENT, Patience, Requests
from embed_index.pipeline.storage.systems import S3Access, open_system, root_of
from embed_index.schemas.errors import ConfigurationError

T = TypeVar("T")

_NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """What stands at a path, as a listing showed it."""

    name: str
    is_folder: bool


class Storage:
    """All the stores of one reader, each opened when it is first looked at."""

    def __init__(self, s3: S3Access | None = None, *, patience: Patience = PATIENT) -> None:
        """Nothing is opened yet.

        Args:
            s3: Where a store with S3's interface is; None for AWS.
            patience: How long stores are waited for.
        """
        self._s3 = s3 or S3Access()
        self._requests = Requests(patience)
        self._stores: dict[str, Store] = {}
        self._lock = threading.Lock()

    def store(self, address: StorageAddress) -> "Store":
        """Return the store of an address.

        Raises:
            ConfigurationError: This host cannot read from it, or there is no such bucket.
            UnavailableError: It stays away.
        """
        with self._lock:
            if address.top not in self._stores:
                self._stores[address.top] = Store(address, self._s3, requests=self._requests)
            return self._stores[address.top]

    def stop(self) -> None:
        """End all waiting, from any thread; what waits raises an `UnavailableError`."""
        self._requests.stop()


class Store:
    """One bucket, container or file system."""

    def __init__(self, address: StorageAddress, s3: S3Access, *, requests: Requests) -> None:
        """Open it; see `Storage.store`."""
        self.top = address.top
        self._root = root_of(address)
        self._requests = requests
        self._was_seen = False
        """Whether anything of it was found, which therefore exists."""
        self._system: fs.FileSystem = self._call(
            lambda: open_system(address, s3), key="", limit_seconds=requests.patience.read_seconds
        )

    def uri(self, key: str) -> str:
        """Return the address of a key."""
        return f"{self.top}/{key}"

    def entries(self, key: str) -> Sequence[StoredEntry]:
        """Return what stands in a folder, in the order of its names; empty if it is none.

        Raises:
            ConfigurationError: It may not be listed, or there is no such bucket.
            UnavailableError: The store stays away.
        """
        path = self._path(key)
        selector = fs.FileSelector(path, allow_not_found=True)
        found = self._call(
            lambda: self._system.get_file_info(selector),
            key=key,
            limit_seconds=self._requests.patience.listing_seconds,
        )
        if any(look.path.rstrip("/") == path for look in found):
            # pyarrow calls what is in `folder//` the folder itself, and cannot open it; left out,
            # it would count as missing.
            raise ConfigurationError(
                f"input: {self.uri(key)}// has keys with an empty part, which cannot be read",
                remedy="Rename them, or name the folders beside them as --input.",
            )
        return sorted(map(_entry, found), key=lambda entry: entry.name)

    def entry(self, key: str) -> StoredEntry | None:
        """Return what stands at a key, None for nothing.

        Raises:
            ConfigurationError: It may not be looked at, or there is no such bucket.
            UnavailableError: The store stays away.
        """
        found = self._look(key)
        self._was_seen = self._was_seen or found is not None
        if not self._was_seen and self._is_without_bucket():
            raise ConfigurationError(
                f"input: there is no bucket {self.top}",
                remedy="Check its name, and `endpoint` and `region` under [source].",
            )
        return found

    def file(self, key: str) -> StoredFile:
        """Return a file to read; nothing is asked of the store."""
        path = self._path(key)
        return StoredFile(
            self.uri(key),
            folders=path.split("/")[:-1],
            requests=self._requests,
            open_file=lambda: self._open(path),
        )

    def _is_without_bucket(self) -> bool:
        try:
            return bool(self._root) and self._look("") is None
        except ConfigurationError:
            # Who may see some of a bucket need not see the bucket itself.
            return False

    def _look(self, key: str) -> StoredEntry | None:
        look = self._call(
            lambda: self._system.get_file_info(self._path(key)),
            key=key,
            limit_seconds=self._requests.patience.read_seconds,
        )
        return None if look.type == fs.FileType.NotFound else _entry(look)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}".rstrip("/")

    def _open(self, path: str) -> Opened:
        opened = self._system.open_input_file(path)
        told: dict[str, bytes] = {}
        with suppress(pa.ArrowNotImplementedError):
            told = opened.metadata() or {}
        modified = told.get("Last-Modified", b"").decode()
        modified_ns = (
            int(datetime.fromisoformat(modified).timestamp()) * _NS_PER_SECOND
            if modified
            else self._system.get_file_info(path).mtime_ns or 0
        )
        etag = told.get("ETag", b"").decode()
        return opened, FileState(num_bytes=opened.size(), modified_ns=modified_ns, etag=etag)

    def _call(self, action: Callable[[], T], *, key: str, limit_seconds: float) -> T:
        return self._requests.call(action, subject=self.uri(key), limit_seconds=limit_seconds)


def _entry(look: fs.FileInfo) -> StoredEntry:
    return StoredEntry(look.base_name, look.type == fs.FileType.Directory)
