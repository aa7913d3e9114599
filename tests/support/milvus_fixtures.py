"""Milvus as tests get it: embedded Lite and a real server, behind the same names."""

import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from milvus_server import MilvusServer

from embed_index.pipeline.milvus.store import MilvusStore, open_store
from embed_index.schemas.contract import Canary, CollectionContract
from embed_index.schemas.ids import chunk_id, text_hash
from embed_index.schemas.records import (
    CarriedValue,
    Chunk,
    Document,
    EmbeddedBatch,
    SourceRow,
    Vectors,
)

DIMENSION = 16

slow_on_server = pytest.mark.parametrize(
    "milvus_uri",
    ["lite", pytest.param("server", marks=[pytest.mark.milvus_server, pytest.mark.slow])],
    indirect=True,
)
"""For tests of what does not depend on the target: the contract suite of the store has that."""


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """Run one real server for the whole session, without authentication."""
    with MilvusServer(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.fixture(
    scope="module", params=["lite", pytest.param("server", marks=pytest.mark.milvus_server)]
)
def milvus_uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name Milvus Lite in a folder of the module's own, then the real server."""
    if request.param == "lite":
        return str(tmp_path_factory.mktemp("lite") / "store.db")
    server: MilvusServer = request.getfixturevalue("milvus_server")
    return server.uri


@pytest.fixture(scope="module")
def store(milvus_uri: str) -> Iterator[MilvusStore]:
    """Open the store of `milvus_uri`."""
    with open_store(milvus_uri, connect_seconds=60.0) as opened:
        yield opened


@pytest.fixture
def alias() -> str:
    """Return a collection name that nobody else has."""
    return f"t_{uuid.uuid4().hex[:12]}"


def make_contract(
    *, dimension: int = DIMENSION, carried: tuple[str, ...] = ()
) -> CollectionContract:
    """Return a contract with every field filled."""
    return CollectionContract(
        collection_id=uuid.uuid4().hex,
        model="sample",
        model_revision="r1",
        tokenizer_fingerprint="f" * 32,
        dimension=dimension,
        dtype="float32",
        document_prompt="",
        query_prompt='Instruct: 找 "it"\nQuery:',
        max_tokens=512,
        overlap_tokens=0,
        carried_columns=carried,
        engine="sglang 0.5.23",
        canaries=(Canary.from_vector("ünï 漢字", unit_vectors(1, dimension=dimension)[0]),),
    )


def unit_vectors(count: int, *, dimension: int = DIMENSION, seed: int = 0) -> Vectors:
    """Return random unit vectors of shape (count, dimension)."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def make_batch(
    texts: list[str],
    *,
    doc_id: str = "doc",
    carried: tuple[CarriedValue, ...] = (),
    dimension: int = DIMENSION,
    seed: int = 0,
    path: str = "corpus/part-0.parquet",
) -> EmbeddedBatch:
    """Return the chunks of one document, one text each, with random unit vectors."""
    whole = "".join(texts)
    document = Document(
        doc_id=doc_id,
        text=whole,
        carried=carried,
        source=SourceRow(path=path, row_group=0, row=7),
        doc_hash=text_hash(whole),
    )
    chunks = []
    start = 0
    for index, text in enumerate(texts):
        chunks.append(
            Chunk(
                chunk_id=chunk_id(doc_id, index),
                document=document,
                chunk_index=index,
                num_chunks=len(texts),
                char_start=start,
                char_end=start + len(text),
                token_ids=np.arange(3, dtype=np.int32),
            )
        )
        start += len(text)
    return EmbeddedBatch(
        chunks=tuple(chunks), vectors=unit_vectors(len(texts), dimension=dimension, seed=seed)
    )
