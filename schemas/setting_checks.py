"""What single settings must satisfy; a `ValueError` says what was wrong without a secret."""

import json
import re
from collections import Counter
from fractions import Fraction
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from embed_index.schemas.names import check_carried_names, check_collection_name
from embed_index.schemas.server_flags import refused_flag

T = TypeVar("T")

_INDEX_PARAM = re.compile(r"[A-Za-z]+=[0-9]{1,9}")
_RESOURCE_GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
NAMED_ANALYZERS = ("standard", "english", "chinese")
"""Those that Milvus knows by a name and that a collection can have."""

_COUNT_OR_SHARE = re.compile(r"[0-9]{1,18}|[0-9]{1,3}(\.[0-9]{1,9})?%")


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
    """Refuse columns that a collection cannot carry under their names."""
    check_carried_names(names)
    return distinct(names)


def collection_name(name: str) -> str:
    """Accept a collection's name, or none yet."""
    return check_collection_name(name) if name else name


def milvus_uri(uri: str) -> str:
    """Accept a path of Milvus Lite or the URL of a server."""
    if "://" in uri:
        return _url(uri)
    if not uri.endswith(".db"):
        raise ValueError("must be a path ending in .db, or start with http:// or https://")
    return uri


def text_analyzer(analyzer: str) -> str:
    """Accept the name of an analyzer, or Milvus' JSON for one, spelt one way."""
    if analyzer in NAMED_ANALYZERS:
        return analyzer
    try:
        params = json.loads(analyzer)
    except json.JSONDecodeError:
        params = None
    if not isinstance(params, dict) or not params:
        raise ValueError(
            f"must be {', '.join(NAMED_ANALYZERS)} or a JSON object such as"
            ' {"tokenizer": "standard", "filter": ["lowercase"]}'
        )
    return json.dumps(params, ensure_ascii=False, sort_keys=True)


def index_params(params: tuple[str, ...]) -> tuple[str, ...]:
    """Accept distinct names with a number each."""
    for param in params:
        if not _INDEX_PARAM.fullmatch(param):
            raise ValueError(f"must be NAME=NUMBER, such as M=32, not {param!r}")
    distinct(tuple(param.partition("=")[0] for param in params))
    return params


def resource_groups(names: tuple[str, ...]) -> tuple[str, ...]:
    """Accept distinct names as Milvus takes them."""
    for name in names:
        if not _RESOURCE_GROUP.fullmatch(name):
            raise ValueError(f"must be letters, digits and underscores, not {name!r}")
    return distinct(names)


def endpoint(url: str) -> str:
    """Accept the URL of a store, or none."""
    return _url(url) if url else url


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
    for flag in filter(None, map(refused_flag, arguments)):
        raise ValueError(f"must not hold {flag}, which embed-index sets itself")
    return arguments


def count_or_share(limit: object) -> str:
    """Accept a count such as 10 or a share such as 1%."""
    text = "" if isinstance(limit, bool) else str(limit).strip()
    if not _COUNT_OR_SHARE.fullmatch(text):
        raise ValueError("must be a count such as 10 or a share such as 1%")
    if text.endswith("%") and Fraction(text[:-1]) > 100:
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
