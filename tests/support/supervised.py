"""Supervision for tests: restarts at once, and as little patience as the test needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from embed_index.pipeline.embedding.client import ClientLimits, EmbeddingClient
from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.pipeline.server.life import Patience
from embed_index.pipeline.server.supervision import (
    Launch,
    Prove,
    RestartPolicy,
    SupervisedEmbedder,
    Supervision,
)
from embed_index.pipeline.server.suspects import Suspects

DIMENSION = 8
PATIENT_SECONDS = 10.0
"""A death is noticed at once; patience would only take a busy machine for a hang."""
HANGS_SECONDS = 0.5
QUICK = RestartPolicy(max_deaths=5, first_pause_seconds=0.0)


async def proves_nothing(_embedder: Embedder, _access: ServerAccess) -> None:
    return


def supervision(
    *,
    suspects: Suspects | None = None,
    prove: Prove = proves_nothing,
    policy: RestartPolicy = QUICK,
    answer_seconds: float = PATIENT_SECONDS,
    vocab_size: int = 1_000_000,
    dimension: int = DIMENSION,
    told: list[str] | None = None,
) -> Supervision:
    limits = ClientLimits(vocab_size=vocab_size, max_tokens=512)
    return Supervision(
        dimension=dimension,
        connect=lambda server, access: EmbeddingClient(server.endpoint, limits=limits),
        prove=prove,
        patience=Patience(answer_seconds=answer_seconds, min_tokens_per_second=1e6),
        tell=(told if told is not None else []).append,
        suspects=suspects or Suspects(),
        policy=policy,
    )


@asynccontextmanager
async def supervised(launch: Launch, how: Supervision) -> AsyncIterator[SupervisedEmbedder]:
    async with SupervisedEmbedder(launch, how) as embedder:
        await embedder.wait_ready()
        yield embedder
