"""Opens collections for searching, from settings as every command takes them.

Programs import this module when they begin, so it imports nothing that takes time.
"""

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from embed_index.schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from embed_index.jobs.adapters.query_servers import StartedServer
    from embed_index.pipeline.corpus.lookup import CorpusPlace
    from embed_index.pipeline.library.async_collection import AsyncCollection
    from embed_index.pipeline.library.collection import Collection
    from embed_index.schemas.settings import JobSettings


def open_collection(
    collection: str,
    *,
    milvus_uri: str | None = None,
    milvus_token: str | None = None,
    milvus_db: str | None = None,
    milvus_ca_file: str | PathLike[str] | None = None,
    milvus_client_cert: str | PathLike[str] | None = None,
    milvus_client_key: str | PathLike[str] | None = None,
    server_url: str | Sequence[str] | None = None,
    key: str | None = None,
    key_file: str | PathLike[str] | None = None,
    model: str | PathLike[str] | None = None,
    job: str | PathLike[str] | None = None,
    input: str | PathLike[str] | Sequence[str] | None = None,  # noqa: A002 - the setting's name
    id_column: str | None = None,
    id_from: str | None = None,
    text_column: str | Sequence[str] | None = None,
    source_endpoint: str | None = None,
    source_region: str | None = None,
    state_dir: str | PathLike[str] | None = None,
    request_timeout_seconds: float | None = None,
) -> "Collection":
    """Open a collection for searching; use it as a context manager, or close it.

    What is not given comes from the environment, `.env`, the job file or the default, in this
    order, as with every command. Queries are embedded by the server that is named, or else by the
    `embed-index serve` that runs from the state folder.

    Args:
        collection: Its name; that of one version, such as `articles_v3`, keeps to it.
        milvus_uri: Path ending in `.db`, or `http(s)://host:port`.
        milvus_token: Token, or `user:password`.
        milvus_db: Database; empty for the default one.
        milvus_ca_file: Certificate of the authority that signed that of Milvus, if it is one's own.
        milvus_client_cert: Our own certificate, for mutual TLS.
        milvus_client_key: File of its key.
        server_url: Embedding server, or several.
        key: Its API key.
        key_file: File of mode 0600 that holds the key and nothing else.
        model: Folder of the model, where the collection was made with one that is on no hub and the
            server is on another host.
        job: Job file to take settings from, such as where the corpus is.
        input: Parquet files, folders, patterns or addresses of the corpus, for whole texts.
        id_column: Its column with the document's id.
        id_from: As the job has it, where ids are made of texts or places.
        text_column: Its column with the text, or several.
        source_endpoint: Store behind its `s3://` addresses; empty for AWS.
        source_region: Region of their buckets; empty to find it out.
        state_dir: Folder from which `embed-index serve` runs.
        request_timeout_seconds: How long one embedding request may take; 60 unless set.

    Raises:
        ConfigurationError: A setting is unusable, or there is no such collection of ours.
        StoreError: Milvus cannot be used.
    """
    from pydantic import SecretStr

    from embed_index.jobs.settings.loading import load_settings

    texts = {
        "milvus_uri": milvus_uri,
        "milvus_db": milvus_db,
        "milvus_ca_file": milvus_ca_file,
        "milvus_client_cert": milvus_client_cert,
        "milvus_client_key": milvus_client_key,
        "model": model,
        "id_column": id_column,
        "id_from": id_from,
        "source_endpoint": source_endpoint,
        "source_region": source_region,
        "state_dir": state_dir,
    }
    given: dict[str, object] = {
        name: fspath(value) for name, value in texts.items() if value is not None
    }
    if server_url is not None:
        given["server_url"] = _many(server_url)
    if input is not None:
        given["input"] = _many(input)
    if text_column is not None:
        given["text_column"] = _many(text_column)
    if request_timeout_seconds is not None:
        given["request_timeout_seconds"] = request_timeout_seconds
    if milvus_token is not None:
        given["milvus_token"] = SecretStr(milvus_token)
    if key is not None:
        if key_file is not None:
            raise ConfigurationError("key and key_file are both given", remedy="Give one of them.")
        given["server_key"] = SecretStr(key)
    loaded = load_settings(
        arguments=given,
        job_file=None if job is None else Path(job),
        key_file=None if key_file is None else Path(key_file),
    )
    return open_from_settings(loaded.settings, collection=collection)


async def open_async_collection(collection: str, **settings: object) -> "AsyncCollection":
    """Open a collection for asynchronous searching; as `open_collection` in all else."""
    import asyncio

    from embed_index.pipeline.library.async_collection import AsyncCollection

    opened = await asyncio.to_thread(open_collection, collection, **settings)  # type: ignore[arg-type]
    return AsyncCollection(opened)


def open_from_settings(
    settings: "JobSettings", *, collection: str, start: "StartedServer | None" = None
) -> "Collection":
    """Open a collection with the settings of a command.

    Args:
        settings: Where Milvus, the server and perhaps the corpus are.
        collection: Its name.
        start: As for `query_servers`.

    Raises:
        ConfigurationError: There is no such collection of ours.
        StoreError: Milvus cannot be used.
    """
    from embed_index.jobs.adapters.places import open_existing_store
    from embed_index.jobs.adapters.query_servers import query_servers
    from embed_index.pipeline.library.collection import Collection
    from embed_index.pipeline.library.queries import QueryEmbedder
    from embed_index.pipeline.milvus.retry import OutagePolicy

    return Collection(
        collection,
        # Somebody waits: an outage is not ridden out as at night.
        store=open_existing_store(
            settings, collection, retry=OutagePolicy(retry_seconds=10.0, doubt_seconds=5.0)
        ),
        embedder=QueryEmbedder(query_servers(settings, start=start)),
        corpus=_corpus(settings) if settings.input else None,
    )


def _corpus(settings: "JobSettings") -> "CorpusPlace":
    from embed_index.jobs.adapters.inputs import open_storage
    from embed_index.pipeline.corpus.lookup import CorpusPlace
    from embed_index.pipeline.storage.requests import BRIEF

    return CorpusPlace(
        inputs=settings.input,
        id_column=settings.id_column,
        text_columns=settings.text_column,
        id_from=settings.id_from,
        storage=open_storage(settings, patience=BRIEF),
    )


def _many(value: str | PathLike[str] | Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str | PathLike):
        return (fspath(value),)
    return tuple(fspath(entry) for entry in value)
