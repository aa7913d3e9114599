"""Milvus Lite finds what it holds."""

from pathlib import Path

import numpy as np
import pytest
from milvus_fixtures import make_batch, make_contract, unit_vectors

from embed_index.pipeline.milvus.store import open_store
from embed_index.schemas.records import EmbeddedBatch

NUM_DOCUMENTS = 3000


@pytest.fixture
def repetitive() -> EmbeddedBatch:
    """Documents of one chunk each; every other one is the same as many others."""
    places = np.arange(NUM_DOCUMENTS)
    vectors = unit_vectors(NUM_DOCUMENTS, dimension=64)
    chunks = [make_batch(["x"], doc_id=f"d{number}").chunks[0] for number in places]
    return EmbeddedBatch(
        chunks=tuple(chunks), vectors=vectors[np.where(places % 2, places % 15, places)]
    )


def test_every_chunk_of_a_repetitive_corpus_is_found_in_milvus_lite(
    tmp_path: Path, alias: str, repetitive: EmbeddedBatch
) -> None:
    path = str(tmp_path / "store.db")
    with open_store(path) as store:
        version = store.versions.create(alias, contract=make_contract(dimension=64))
        store.upsert(version, repetitive)
    with open_store(path) as store:
        store.versions.load(version)
        scores = [
            store.reader.search(version, vector, limit=4, consistency="Strong")[0].score
            for vector in repetitive.vectors[::50]
        ]

    assert min(scores) > 0.9999
