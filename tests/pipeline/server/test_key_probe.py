"""Whether a server takes a key, asked of servers that answer nothing of use."""

import pytest
from misbehaving_server import (
    KEY,
    Behaviour,
    compresses_wrongly,
    drips,
    drops,
    floods,
    hangs,
    misbehaving_server,
    says,
)
from pydantic import SecretStr

from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.server import intrusion as key_probe


@pytest.mark.parametrize(
    ("behaviour", "takes"),
    [
        (says(200), True),
        (says(401), False),
        (says(403), False),
        (says(503), None),
        (drops, None),
        (hangs, None),
        (drips, None),
        (floods, None),
        (compresses_wrongly, None),
    ],
)
async def test_only_an_answer_to_the_key_says_whether_it_is_taken(
    monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, takes: bool | None
) -> None:
    monkeypatch.setattr(key_probe, "_ANSWER_SECONDS", 0.5)
    async with misbehaving_server(always=behaviour) as server:
        endpoint = EmbeddingEndpoint.from_settings(server.url, key=SecretStr(KEY), model="m")

        assert await key_probe.takes_key(endpoint) is takes
