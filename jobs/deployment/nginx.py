"""Text of the nginx site in front of a server that listens on loopback."""

from dataclasses import dataclass
from pathlib import Path

from embed_index.jobs.deployment.deployment import printable, served_port
from embed_index.jobs.deployment.template import fill
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.settings import JobSettings

_INPUTS_PER_REQUEST = 256
_BYTES_PER_TOKEN = 8
"""Of text in JSON: a common token has four characters, one that JSON escapes has six bytes."""
_EXTRA_SECONDS = 30
"""A client gives up first, and says why; nginx would only say 504."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where clients find the server."""

    server_name: str
    port: int
    certificate: Path
    certificate_key: Path
    access_log: Path


def nginx_site(site: Site, settings: JobSettings) -> str:
    """Return the configuration of the site, for the `http` block's sites folder."""
    name = site.server_name
    return fill(
        "nginx.conf",
        authority=name if site.port == 443 else f"{name}:{site.port}",
        port=served_port(settings),
        listen_port=site.port,
        server_name=name,
        certificate=_quoted(site.certificate),
        certificate_key=_quoted(site.certificate_key),
        access_log=_quoted(site.access_log),
        num_inputs=_INPUTS_PER_REQUEST,
        max_tokens=f"{MAX_CONTEXT_TOKENS:,}",
        max_body_mib=-(-_INPUTS_PER_REQUEST * MAX_CONTEXT_TOKENS * _BYTES_PER_TOKEN // 2**20),
        answer_seconds=round(settings.request_timeout_seconds) + _EXTRA_SECONDS,
    )


def _quoted(path: Path) -> str:
    """Quote a path; nginx would take a dollar sign for a variable, quoted or not."""
    text = printable(path)
    if any(character in text for character in '"$\\'):
        raise ConfigurationError(
            f"nginx cannot take the path {text}", remedy='Use one without ", $ and backslash.'
        )
    return f'"{text}"' if any(character in text for character in " ;{}'#") else text
