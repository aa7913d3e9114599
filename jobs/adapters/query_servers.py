"""From settings to the servers that embed queries: named, found on this host, or started."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from embed_index.jobs.adapters.places import tokenizer_folder
from embed_index.jobs.adapters.servers import choose_service, named_endpoints
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.preflight import served_models
from embed_index.pipeline.library.servers import QueryServers
from embed_index.pipeline.model.files import ModelFiles, find_model, is_hub_id
from embed_index.pipeline.server.server_log import name_log
from embed_index.pipeline.server.service import (
    EmbeddingRequest,
    EmbeddingService,
    external_service,
)
from embed_index.pipeline.server.serving_record import ServingRecord, find_serving
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ConfigurationError, ServerError
from embed_index.schemas.settings import JobSettings

_ANSWER_SECONDS = 60.0
"""Unless settings say otherwise: somebody waits for the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedServer:
    """That a server may be started where none runs."""

    tell: Callable[[str], None]
    """Called with a sentence for people when it is."""
    max_tokens: int
    """Longest query that it must take."""


def query_servers(settings: JobSettings, *, start: StartedServer | None = None) -> QueryServers:
    """Return where queries are embedded.

    Settings name a server, or `embed-index serve` runs one from the state folder, or one is started
    for this use if that is allowed.

    Args:
        settings: Addresses, key, model and state folder.
        start: How one is started; None starts none.
    """
    is_given = "request_timeout_seconds" in settings.model_fields_set
    return QueryServers(
        find_model=lambda contract: _find_model(settings, contract),
        tokenizers=tokenizer_folder(settings),
        mixed_precision=settings.mixed_precision,
        open_service=lambda request: _open_service(settings, request, start=start),
        answer_seconds=settings.request_timeout_seconds if is_given else _ANSWER_SECONDS,
    )


def _running(settings: JobSettings, *, model: str) -> list[EmbeddingEndpoint]:
    """Return the servers that run already: those that settings name, or this host's own.

    Raises:
        ConfigurationError: One runs, and its key is not given.
    """
    if settings.server_url:
        return named_endpoints(settings, model=model)
    serving = find_serving(settings.state_dir)
    if serving is None:
        return []
    if settings.server_key is None:
        raise ConfigurationError(
            f"server_key: `embed-index serve` runs at {serving.url}, and its key is not given",
            remedy=_where_the_key_is(serving),
        )
    return [serving.endpoint(settings.server_key)]


def _where_the_key_is(serving: ServingRecord) -> str:
    if serving.key_file is None or serving.key_from_systemd:
        return "Put EMBEDDING_API_KEY into .env, or name a file with --key-file."
    if Path(serving.key_file).name == ".env":
        return f"It is in {serving.key_file}: work in that folder, or name a file with --key-file."
    return f"Give --key-file {serving.key_file}, or put EMBEDDING_API_KEY into .env."


def _open_service(
    settings: JobSettings, request: EmbeddingRequest, *, start: StartedServer | None
) -> AbstractAsyncContextManager[EmbeddingService]:
    endpoints = _running(settings, model=request.model.location)
    if endpoints:
        return external_service(endpoints, request=request)
    if start is None:
        raise ServerError(
            f"no embedding server is named, and none serves from {settings.state_dir}",
            remedy="Start one with `embed-index serve`, or give server_url and key"
            " (EMBEDDING_API_BASE, EMBEDDING_API_KEY).",
        )
    start.tell(
        "starting an embedding server for this search alone, which takes a while; `embed-index"
        " serve` keeps one, and searches from this folder find it"
    )
    request = replace(request, max_tokens=max(request.max_tokens, start.max_tokens))
    return choose_service(settings, request=request, max_servers=1, log_owner=name_log("search"))


async def _find_model(settings: JobSettings, contract: CollectionContract) -> ModelFiles:
    """Return the collection's model: as named, from its hub, or from the folder of a server here.

    Raises:
        ConfigurationError: It is a folder that neither settings nor a server on this host name.
    """
    if "model" in settings.model_fields_set:
        return await asyncio.to_thread(
            find_model,
            settings.model,
            source=settings.model_source,
            revision=settings.revision,
        )
    if is_hub_id(contract.model):
        return await asyncio.to_thread(
            find_model,
            contract.model,
            source=settings.model_source,
            revision=contract.model_revision,
        )
    for endpoint in _running(settings, model=contract.model):
        for named in await served_models(endpoint):
            found = await asyncio.to_thread(_same_model_in, named, contract)
            if found is not None:
                return found
    raise ConfigurationError(
        f"the collection was made with the model in a folder {contract.model!r}, which is not known"
        " here",
        remedy="Name the folder with --model, EMBED_INDEX_MODEL or model=.",
    )


def _same_model_in(folder: str, contract: CollectionContract) -> ModelFiles | None:
    """Return the model in a folder that a server names, if that is here and the collection's.

    Its tokenizer is compared by whoever uses it.
    """
    if not Path(folder).is_absolute() or not (Path(folder) / "tokenizer.json").is_file():
        return None
    model = find_model(folder)
    return model if model.revision == contract.model_revision else None
