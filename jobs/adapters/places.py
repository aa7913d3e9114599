"""Where a job keeps its state, and the Milvus it writes to.

What belongs to a collection is named after it and its Milvus, such as
`articles@milvus-19530-0123456789.ledger`: collections of one name in two Milvus, or in two of its
databases, may share a state folder.
"""

import hashlib
import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from embed_index.pipeline.milvus.address import parse_address
from embed_index.pipeline.milvus.retry import OutagePolicy
from embed_index.pipeline.milvus.store import DEFAULT_RETRY, MilvusStore, open_store
from embed_index.pipeline.milvus.tls import TlsFiles
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.settings import JobSettings

_DEFAULT_DATABASE = "default"
_LOOPBACK = "localhost"
_MAX_LABEL_CHARS = 24
"""A collection's name has up to 200, and a file's name 255 with the ending."""
_TAG_BYTES = 5
_UNFIT = re.compile(r"[^A-Za-z0-9.]+")


def milvus_place(settings: JobSettings) -> str:
    """Return in one spelling which Milvus and which of its databases settings name.

    A server is its host, port and database, without scheme or credentials. Milvus Lite is its path
    as seen from the state folder, so that both can be moved together.
    """
    address = parse_address(settings.milvus_uri)
    if address.embedded_path is not None:
        state = os.path.realpath(settings.state_dir)
        place = os.path.relpath(os.path.realpath(address.embedded_path), state)
        return f"{place}/{settings.milvus_db or _DEFAULT_DATABASE}"
    return f"{_one_spelling(address.host)}:{address.port}/{milvus_database(settings)}"


def milvus_database(settings: JobSettings) -> str:
    """Return the database that settings name, `default` where they name none."""
    # pymilvus takes the first part of a URL's path for it.
    in_path = urlsplit(settings.milvus_uri).path.strip("/").split("/")[0]
    return settings.milvus_db or in_path or _DEFAULT_DATABASE


def place_name(settings: JobSettings, collection: str) -> str:
    """Return what the files of a collection are called, without their ending."""
    place = milvus_place(settings)
    tag = hashlib.blake2b(place.encode("utf-8", "surrogateescape"), digest_size=_TAG_BYTES)
    # The file of Milvus Lite, or host and port; the tag tells apart what they do not.
    readable = place.rpartition("/")[0].rpartition("/")[2]
    label = _UNFIT.sub("-", readable)[:_MAX_LABEL_CHARS].strip("-.")
    return f"{collection}@{label}-{tag.hexdigest()}"


def lock_path(settings: JobSettings, collection: str) -> Path:
    """Return where the run lock of a collection is."""
    return settings.state_dir / f"{place_name(settings, collection)}.lock"


def dead_letter_folder(settings: JobSettings, collection: str) -> Path:
    """Return where the dead letters of a collection's runs are."""
    return settings.state_dir / "dead-letters" / place_name(settings, collection)


def ledger_path(settings: JobSettings, collection: str) -> Path:
    """Return where the ledger of a collection is."""
    return settings.state_dir / f"{place_name(settings, collection)}.ledger"


def shared_ledger_path(settings: JobSettings, collection: str) -> Path:
    """Return where the ledger was while a name had one, whatever its Milvus."""
    return settings.state_dir / f"{collection}.ledger"


def ledgers_of_name(settings: JobSettings, collection: str) -> list[Path]:
    """Return the ledgers that there are of all collections of a name."""
    shared = shared_ledger_path(settings, collection)
    ours = sorted(settings.state_dir.glob(f"{collection}@*.ledger"))
    return [*ours, shared] if shared.exists() else ours


def existing_ledger(settings: JobSettings, collection: str) -> Path | None:
    """Return the ledger of a collection, which may be the one that its next run takes over."""
    paths = ledger_path(settings, collection), shared_ledger_path(settings, collection)
    return next((path for path in paths if path.exists()), None)


def find_ledger(settings: JobSettings, collection: str) -> Path:
    """Return the ledger that a reader means, who need not name a Milvus if there is only one.

    Raises:
        ConfigurationError: There is none, or none of that Milvus, or there are several.
    """
    path = existing_ledger(settings, collection)
    if path is not None:
        return path
    others = ledgers_of_name(settings, collection)
    is_named = "milvus_uri" in settings.model_fields_set
    if len(others) == 1 and not is_named:
        return others[0]
    remedy = "Check the name and --state-dir, or give the job file with --job."
    where = f" for Milvus at {settings.milvus_uri}" if others else ""
    if others:
        names = ", ".join(other.name for other in others)
        remedy = f"Name its Milvus with --milvus-uri, or give the job file with --job: {names}"
    raise ConfigurationError(
        f"no run of {collection!r} has left a ledger in {settings.state_dir}{where}",
        remedy=remedy,
    )


def tokenizer_folder(settings: JobSettings) -> Path:
    """Return where it is kept what was derived from tokenizers."""
    return settings.state_dir / "tokenizers"


def open_job_store(settings: JobSettings, *, retry: OutagePolicy = DEFAULT_RETRY) -> MilvusStore:
    """Connect to the Milvus that settings name; `retry` says how long an outage is ridden out."""
    token = settings.milvus_token
    return open_store(
        settings.milvus_uri,
        token=token.get_secret_value() if token else "",
        database=settings.milvus_db,
        retry=retry,
        tls=tls_files(settings),
    )


def tls_files(settings: JobSettings) -> TlsFiles:
    """Return the files for TLS to Milvus that settings name."""
    return TlsFiles(
        ca_file=settings.milvus_ca_file,
        client_cert=settings.milvus_client_cert,
        client_key=settings.milvus_client_key,
    )


def lacks_milvus_lite(settings: JobSettings) -> bool:
    """Tell whether settings name an embedded Milvus that nobody has made yet."""
    path = parse_address(settings.milvus_uri).embedded_path
    return path is not None and not path.exists()


def open_existing_store(
    settings: JobSettings, collection: str, *, retry: OutagePolicy = DEFAULT_RETRY
) -> MilvusStore:
    """Do as `open_job_store` for those who only look: a mistyped path makes no database.

    Raises:
        ConfigurationError: There is no Milvus Lite at the path.
    """
    if lacks_milvus_lite(settings):
        raise ConfigurationError(
            f"there is no collection {collection!r} of embed-index, for no Milvus Lite is at"
            f" {settings.milvus_uri}",
            remedy="Check the working folder and --milvus-uri, or give the job file with --job;"
            " `embed-index run` makes one.",
        )
    return open_job_store(settings, retry=retry)


def _one_spelling(host: str) -> str:
    host = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    # Other loopback addresses may be other servers.
    return _LOOPBACK if str(address) in ("127.0.0.1", "::1") else str(address)
