"""The canaries: what lets a server into a run."""

from collections.abc import Sequence

import numpy as np
import pytest

from embed_index.pipeline.conformance import CANARY_TEXTS, CanaryGate
from embed_index.pipeline.tokenizing import ModelTokenizer
from embed_index.pipeline.vectors import normalise
from embed_index.schemas.contract import Canary
from embed_index.schemas.errors import ContractError, ServerError
from embed_index.schemas.records import TokenIds, Vectors

WIDTH = 64


class Model:
    """Gives every text a vector of its own; another seed is another model."""

    def __init__(self, seed: int, *, noise_in_batches: float = 0.0) -> None:
        self._seed = seed
        self._noise = noise_in_batches

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        rows = [
            np.random.default_rng([self._seed, *ids.tolist()]).normal(size=dimension)
            for ids in token_ids
        ]
        noise = self._noise if len(token_ids) > 1 else 0.0
        drawn = np.random.default_rng(0).normal(size=(len(rows), dimension)) * noise
        return normalise((np.stack(rows) + drawn).astype(np.float32))


def gate(tokenizer: ModelTokenizer, *, known: Sequence[Canary] = ()) -> CanaryGate:
    return CanaryGate(tokenizer, dimension=WIDTH, version="docs_v1", known=known)


async def test_the_first_server_of_a_new_collection_sets_the_canaries(
    tokenizer: ModelTokenizer,
) -> None:
    entrance = gate(tokenizer)

    await entrance.prove(Model(1))
    await entrance.prove(Model(1))

    assert [canary.text for canary in entrance.canaries] == list(CANARY_TEXTS)


async def test_a_later_server_with_other_vectors_is_refused(tokenizer: ModelTokenizer) -> None:
    entrance = gate(tokenizer)
    await entrance.prove(Model(1))

    with pytest.raises(ContractError, match="canary text 1 another vector"):
        await entrance.prove(Model(2))


async def test_the_collections_own_canaries_bind_the_first_server(
    tokenizer: ModelTokenizer,
) -> None:
    maker = gate(tokenizer)
    await maker.prove(Model(1))

    await gate(tokenizer, known=maker.canaries).prove(Model(1))
    with pytest.raises(ContractError, match="docs_v1"):
        await gate(tokenizer, known=maker.canaries).prove(Model(2))


async def test_a_server_whose_batches_differ_is_refused(tokenizer: ModelTokenizer) -> None:
    with pytest.raises(ServerError, match="alone and in a batch"):
        await gate(tokenizer).prove(Model(1, noise_in_batches=0.5))
