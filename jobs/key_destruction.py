"""The end of a key, and who may still take it."""

import asyncio
from dataclasses import dataclass

from embed_index.jobs.key_places import KeyPlace
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.pipeline.server.intrusion import takes_key
from embed_index.pipeline.server.serving_record import find_serving
from embed_index.schemas.settings import JobSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedServer:
    """A server that was asked whether it takes a key."""

    url: str
    takes_key: bool | None
    """None where it does not answer."""


def destroy_key(place: KeyPlace, settings: JobSettings) -> list[AskedServer]:
    """Overwrite and remove a key, and ask the servers that settings know whether they take it.

    Raises:
        ConfigurationError: There is no key, or it cannot be removed.
    """
    key = place.read()
    REDACTOR.remember(key.get_secret_value())
    serving = find_serving(settings.state_dir)
    urls = (*settings.server_url, *((serving.url,) if serving else ()))
    endpoints = [
        EmbeddingEndpoint.from_settings(url, key=key, model="default")
        for url in dict.fromkeys(urls)
    ]
    place.destroy()
    return asyncio.run(_ask(endpoints))


async def _ask(endpoints: list[EmbeddingEndpoint]) -> list[AskedServer]:
    return [
        AskedServer(url=endpoint.url, takes_key=await takes_key(endpoint)) for endpoint in endpoints
    ]
