"""The beginning and the end of a key, and who may still take it."""

import secrets
from dataclasses import dataclass

from pydantic import SecretStr

from embed_index.jobs.cli.signals import run_interruptibly
from embed_index.jobs.serving.key_places import KeyPlace
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.pipeline.server.intrusion import takes_key
from embed_index.pipeline.server.serving_record import find_serving
from embed_index.schemas.settings import JobSettings

_PREFIX = "ei-"
"""No argument parser takes the key for a flag, and searches for leaked keys know it."""
_NUM_RANDOM_BYTES = 32


def draw_key() -> SecretStr:
    """Return a random key of ASCII characters that need no quoting anywhere."""
    key = _PREFIX + secrets.token_urlsafe(_NUM_RANDOM_BYTES)
    REDACTOR.remember(key)
    return SecretStr(key)


def generate_key(place: KeyPlace) -> None:
    """Write a new key to a place that has none.

    Raises:
        ConfigurationError: It has one already, or is unsafe.
    """
    place.add(draw_key())


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
    ours = {serving.url: serving.endpoint(key)} if serving else {}
    named = (
        EmbeddingEndpoint.from_settings(url, key=key, model="default")
        for url in settings.server_url
    )
    endpoints = {endpoint.url: endpoint for endpoint in named} | ours
    place.destroy()
    return run_interruptibly(_ask(list(endpoints.values())))


async def _ask(endpoints: list[EmbeddingEndpoint]) -> list[AskedServer]:
    return [
        AskedServer(url=endpoint.url, takes_key=await takes_key(endpoint)) for endpoint in endpoints
    ]
