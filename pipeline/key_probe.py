"""Whether a running server takes a key."""

import asyncio

import httpx

from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint

_ANSWER_SECONDS = 10.0


async def takes_key(endpoint: EmbeddingEndpoint) -> bool | None:
    """Ask a protected route that does nothing; None where nobody answers it."""
    async with endpoint.http_client() as http:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                response = await http.get("/v1/models", headers=endpoint.bearer())
        except (httpx.RequestError, TimeoutError):
            return None
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return False
    return True if response.status_code == httpx.codes.OK else None
