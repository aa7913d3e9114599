"""What single settings must satisfy; a `ValueError` says what was wrong without a secret."""

import re
from collections import Counter
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from embed_index.schemas.columns import RESERVED_COLUMNS

T = TypeVar("T")

_COLLECTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_VERSION_SUFFIX = re.compile(r"_v[0-9]+$")
_COUNT_OR_SHARE = re.compile(r"[0-9]+|[0-9]+(\.[0-9]+)?%")
_OWN_SERVER_ARGUMENTS = ("--api-key", "--admin-api-key", "--host", "--port", "--model-path")


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse a list that names something twice, or nothing at all."""
    if "" in values:
        raise ValueError("must not have an empty entry")
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ValueError(f"must not name {repeated[0]} twice")
    return values


def gpu_numbers(gpus: tuple[int, ...]) -> tuple[int, ...]:
    """Accept distinct device numbers."""
    if any(gpu < 0 for gpu in gpus):
        raise ValueError("must be device numbers from 0")
    return distinct(gpus)


def carried_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse carried columns whose names the collection needs itself."""
    reserved = sorted(RESERVED_COLUMNS.intersection(names))
    if reserved:
        raise ValueError(f"must not name {reserved[0]}, a field that every collection has")
    return distinct(names)


def collection_name(name: str) -> str:
    """Refuse what Milvus does not take as a name, and what looks like a version of another."""
    if name and not _COLLECTION.fullmatch(name):
        raise ValueError(
            "must be letters, digits and underscores, at most 200, and not start with a digit"
        )
    if _VERSION_SUFFIX.search(name):
        raise ValueError("must not end like a version; _v1, _v2, … are put behind the name")
    return name


def milvus_uri(uri: str) -> str:
    """Accept a path of Milvus Lite or the URL of a server."""
    if "://" in uri:
        return _url(uri)
    if not uri.endswith(".db"):
        raise ValueError("must be a path ending in .db, or start with http:// or https://")
    return uri


def server_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Accept distinct URLs of embedding servers."""
    return distinct(tuple(_url(url) for url in urls))


def header_secret(secret: SecretStr | None) -> SecretStr | None:
    """Refuse a secret that cannot stand in an HTTP header."""
    if secret is not None:
        value = secret.get_secret_value()
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("must be printable ASCII without spaces, and not empty")
    return secret


def server_arguments(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse arguments that would show a key, open the server to the network or move it."""
    for argument in arguments:
        # argparse takes any unambiguous beginning of a name for the whole name.
        name = argument.partition("=")[0]
        for own in _OWN_SERVER_ARGUMENTS:
            if len(name) > len("--x") and own.startswith(name):
                raise ValueError(f"must not hold {own}, which embed-index sets itself")
    return arguments


def count_or_share(limit: object) -> str:
    """Accept a count such as 10 or a share such as 1%."""
    text = "" if isinstance(limit, bool) else str(limit).strip()
    if not _COUNT_OR_SHARE.fullmatch(text):
        raise ValueError("must be a count such as 10 or a share such as 1%")
    if text.endswith("%") and float(text[:-1]) / 100 > 1:
        raise ValueError("must be at most 100%")
    return text


def _url(url: str) -> str:
    if "@" in url:
        raise ValueError("must not hold a user name or password")
    if not _is_web_address(url):
        raise ValueError("must be http://host:port or https://host:port")
    return url.rstrip("/")


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
