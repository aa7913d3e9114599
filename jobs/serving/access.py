"""What servers that somebody runs answer without their key or to a dead one, found and written."""

import json
from collections.abc import Sequence

from embed_index.jobs.cli.signals import run_interruptibly
from embed_index.jobs.serving.key_life import AskedServer
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.server.intrusion import AccessAudit, OpenRoute, audit_access
from embed_index.schemas.counts import counted
from embed_index.schemas.settings import JobSettings


def audit_servers(settings: JobSettings) -> list[AccessAudit]:
    """Try every route of every server without the key; settings name servers and key.

    Raises:
        ServerError: One does not answer, embeds for anybody, or refuses the key.
    """
    assert settings.server_key is not None
    key = settings.server_key
    return run_interruptibly(
        _audit_all(
            [
                EmbeddingEndpoint.from_settings(url, key=key, model=settings.model)
                for url in settings.server_url
            ]
        )
    )


async def _audit_all(endpoints: Sequence[EmbeddingEndpoint]) -> list[AccessAudit]:
    return [await audit_access(endpoint) for endpoint in endpoints]


def audits_as_text(audits: Sequence[AccessAudit]) -> str:
    """Return the checks of the key, the count, and a table of what is open."""
    return "\n\n".join("\n".join(_lines(audit)) for audit in audits)


def audits_as_json(audits: Sequence[AccessAudit]) -> str:
    """Return a JSON list."""
    return json.dumps([_fields(audit) for audit in audits], indent=2)


def _lines(audit: AccessAudit) -> list[str]:
    listed = f"{audit.num_listed} of them listed" if audit.num_listed else "the server lists none"
    effort = f"{listed}; {counted(audit.num_requests, 'request')}"
    num_closed = audit.num_routes - len({found.route for found in audit.open_routes})
    lines = [
        f"{audit.url} ({audit.engine})",
        "  no key       refused",
        "  wrong key    refused",
        "  right key    embeds",
        f"  {num_closed} of {audit.num_routes} routes ask for the key ({effort})",
    ]
    if audit.open_routes:
        lines.append("  open without the key:")
        width = max(len(str(found.route)) for found in audit.open_routes)
        lines += [f"    {found.route!s:<{width}}  {_words(found)}" for found in audit.open_routes]
    return lines


def _words(found: OpenRoute) -> str:
    meaning = "meant to be open" if found.is_expected else "MUST NOT BE OPEN"
    return f"{found.status}  {found.how:<14}  {meaning}"


def _fields(audit: AccessAudit) -> dict[str, object]:
    return {
        "url": audit.url,
        "engine": audit.engine,
        "num_routes": audit.num_routes,
        "num_listed": audit.num_listed,
        "num_requests": audit.num_requests,
        "open_routes": [
            {
                "method": found.route.method,
                "path": found.route.path,
                "how": found.how,
                "status": found.status,
                "expected": found.is_expected,
            }
            for found in audit.open_routes
        ],
    }


def key_takers_as_text(asked: Sequence[AskedServer]) -> str:
    """Return a line for each server that was asked whether it still takes a key."""
    words = {
        True: "STILL TAKES THE KEY, until it is stopped or its key is changed",
        False: "refuses the key",
        None: "does not answer",
    }
    lines = [f"the server at {server.url} {words[server.takes_key]}" for server in asked]
    return "\n".join(lines or ["no running server is known here"])
