"""Servers that somebody else runs, once they passed all checks."""

import asyncio
from typing import Any

import numpy as np
from misbehaving_server import KEY, WIDTH, Answer, Request, embeds, hangs, misbehaving_server
from pydantic import SecretStr

from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.model.files import find_model
from embed_index.pipeline.server.service import EmbeddingRequest, external_service
from embed_index.schemas.errors import ServerError


def guarded(request: Request) -> Any:
    if request.headers.get("authorization") != f"Bearer {KEY}":
        return Answer(status=401)
    return embeds(request) if request.route == "/v1/embeddings" else Answer(status=404)


async def test_an_external_server_that_falls_silent_fails_all_requests(sample_model: Any) -> None:
    request = EmbeddingRequest(
        model=find_model(str(sample_model)),
        dimension=WIDTH,
        max_tokens=32,
        answer_seconds=0.5,
        min_tokens_per_second=1.0,
        away_seconds=0.5,
    )
    one = (np.array([5], dtype=np.int32),)

    def endpoint(url: str) -> EmbeddingEndpoint:
        return EmbeddingEndpoint.from_settings(url, key=SecretStr(KEY), model="m")

    async with (
        misbehaving_server(always=guarded) as server,
        external_service([endpoint(server.url)], request=request) as service,
    ):
        assert (await service.embedder.embed(one, dimension=WIDTH)).shape == (1, WIDTH)
        server.always = hangs

        # The client by itself would give each of them half a minute.
        async with asyncio.timeout(15):
            failures = await asyncio.gather(
                *(service.embedder.embed(one, dimension=WIDTH) for _ in range(30)),
                return_exceptions=True,
            )

    assert {type(failure) for failure in failures} == {ServerError}
    assert "has answered nothing for" in str(failures[0])
