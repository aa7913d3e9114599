"""Addresses of places outside of this host: which there are, and what is refused. No I/O."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from embed_index.schemas.errors import ConfigurationError

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://([^/]*)/?(.*)", re.IGNORECASE | re.DOTALL)
_S3, _GCS, _AZURE, _HDFS = ("s3", "s3a"), ("gs", "gcs"), ("abfs", "abfss"), ("hdfs", "viewfs")
_KNOWN = "s3://, gs://, abfs://, hdfs:// and file://"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageAddress:
    """A place in a store, as somebody wrote it; it may hold a pattern."""

    scheme: str
    authority: str
    """A bucket, `container@account…`, or a name node with its port."""
    key: str
    """What follows, without slashes around it; nothing is decoded, as in other tools."""

    @property
    def kind(self) -> str:
        """Which of pyarrow's file systems it is: s3, gcs, azure or hdfs."""
        kinds = {"s3": _S3, "gcs": _GCS, "azure": _AZURE, "hdfs": _HDFS}
        return next(kind for kind, schemes in kinds.items() if self.scheme in schemes)

    @property
    def top(self) -> str:
        """The address of everything that there is, without a slash at its end."""
        return f"{self.scheme}://{self.authority}"


def scheme_of(text: str) -> str | None:
    """Return the scheme of an address in lower case, None for a path."""
    found = _ADDRESS.match(text)
    return found[1].lower() if found else None


def local_path(text: str) -> Path:
    """Return the path that a `file://` address stands for.

    Raises:
        ConfigurationError: It names another host, or no absolute path.
    """
    rest = text.partition("://")[2]
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise ConfigurationError(
            f"input: {text} names no absolute path of this machine",
            remedy="Write file:/// and the whole path, or the path alone.",
        )
    return Path("/" + unquote(path))


def parse_storage_address(text: str) -> StorageAddress:
    """Take an address apart.

    Raises:
        ConfigurationError: It cannot be read from, holds credentials, or names no place.
    """
    found = _ADDRESS.fullmatch(text)
    assert found is not None
    scheme, authority, key = found[1].lower(), found[2], found[3].strip("/")
    if scheme in ("http", "https"):
        raise ConfigurationError(
            f"input: {scheme}:// addresses are not read: a web server has no folders, and cannot"
            " say which files a corpus consists of",
            remedy="Fetch the files, or give their store's own address, such as s3://bucket/folder"
            " with `endpoint` under [source].",
        )
    if scheme not in (*_S3, *_GCS, *_AZURE, *_HDFS):
        raise ConfigurationError(
            f"input: {scheme}:// addresses are not known",
            remedy=f"Give a path or one of {_KNOWN}, or mount the store.",
        )
    userinfo, has_user, _ = authority.rpartition("@")
    if has_user and (scheme not in _AZURE or ":" in userinfo):
        # Names of documents' sources, which anyone may read, are made of addresses.
        raise ConfigurationError(
            f"input: a {scheme}:// address holds a user or key, which is shown wherever it is",
            remedy="Take it out, and give credentials as the store's own tools take them: in the"
            " environment or their files.",
        )
    if not authority and scheme not in _HDFS:
        raise ConfigurationError(
            f"input: {text} names no bucket", remedy=f"Write {scheme}://bucket/folder."
        )
    return StorageAddress(scheme=scheme, authority=authority, key=key)
