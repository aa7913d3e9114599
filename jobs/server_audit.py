"""An audit of servers that somebody runs, as settings name them."""

import asyncio
from collections.abc import Sequence

from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.server.intrusion import AccessAudit, audit_access
from embed_index.schemas.settings import JobSettings


def audit_servers(settings: JobSettings) -> list[AccessAudit]:
    """Try every route of every server without the key; settings name servers and key.

    Raises:
        ServerError: One does not answer, embeds for anybody, or refuses the key.
    """
    assert settings.server_key is not None
    key = settings.server_key
    return asyncio.run(
        _audit_all(
            [
                EmbeddingEndpoint.from_settings(url, key=key, model=settings.model)
                for url in settings.server_url
            ]
        )
    )


async def _audit_all(endpoints: Sequence[EmbeddingEndpoint]) -> list[AccessAudit]:
    return [await audit_access(endpoint) for endpoint in endpoints]
