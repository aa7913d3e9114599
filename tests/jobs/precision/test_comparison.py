"""A comparison over a whole corpus, with servers that do not load a model."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from fragile_server import ACCESS

from embed_index.jobs.main import cli
from embed_index.jobs.precision import comparison
from embed_index.pipeline.embedding.wire import normalise
from embed_index.pipeline.server.gpus import Gpu
from embed_index.pipeline.server.service import EmbeddingRequest, EmbeddingService
from embed_index.schemas.records import TokenIds, Vectors
from embed_index.schemas.settings import JobSettings

H100 = Gpu(
    index=0, name="NVIDIA H100", compute_capability=(9, 0), memory_bytes=80 << 30, uuid="GPU-0"
)
A100 = Gpu(
    index=0, name="NVIDIA A100", compute_capability=(8, 0), memory_bytes=80 << 30, uuid="GPU-0"
)


class Rounding:
    """Gives each text a direction of its own, a little off in fp8."""

    def __init__(self, dtype: str) -> None:
        self._noise = 0.004 if dtype == "fp8" else 0.0

    async def embed(self, token_ids: Sequence[TokenIds], *, dimension: int) -> Vectors:
        rows = [
            np.random.default_rng(ids.tolist()).normal(size=dimension)
            + self._noise * np.random.default_rng([7, *ids.tolist()]).normal(size=dimension)
            for ids in token_ids
        ]
        return normalise(np.stack(rows).astype(np.float32))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    texts = [f"Document {n} tells of pump {n % 7} and valve {n % 5}. " * 9 for n in range(60)]
    pq.write_table(
        pa.table({"id": [str(n) for n in range(60)], "text": texts}), tmp_path / "corpus.parquet"
    )
    return tmp_path / "corpus.parquet"


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[Gpu]:
    """The GPUs of this host; servers start at once, and each dtype is remembered."""
    gpus = [H100]

    @asynccontextmanager
    async def choose_service(
        settings: JobSettings, *, request: EmbeddingRequest, max_servers: int, log_owner: str
    ) -> AsyncIterator[EmbeddingService]:
        embedder = Rounding(settings.dtype)
        await request.prove(embedder, ACCESS)
        yield EmbeddingService(embedder=embedder, access=ACCESS)

    monkeypatch.setattr(comparison, "visible_gpus", lambda: tuple(gpus))
    monkeypatch.setattr(comparison, "choose_service", choose_service)
    monkeypatch.setattr(comparison, "_MIN_SECONDS", 0.0)
    return gpus


def call(corpus: Path, model: Path, *more: str, expect: int = 0) -> str:
    flags = [
        "--input",
        str(corpus),
        "--model",
        str(model),
        "--dimension",
        "64",
        "--max-tokens",
        "64",
    ]
    done = CliRunner().invoke(cli, ["precision", *flags, *more])
    assert done.exit_code == expect, done.output
    return done.stdout if expect == 0 else done.stderr


@pytest.mark.usefixtures("card")
def test_the_page_compares_what_the_two_servers_made(corpus: Path, sample_model: Path) -> None:
    page = call(corpus, sample_model, "--sample", "100")

    assert "at 64 dimensions" in page
    assert "NVIDIA H100" in page
    assert "100 chunks of " in page
    assert "median 1.0000 (fp8 to bfloat16)" in page
    assert page.splitlines()[-1].startswith("recommended")


@pytest.mark.usefixtures("card")
def test_queries_search_among_the_chunks(corpus: Path, sample_model: Path, tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("which pump\n\nwhich valve\n")
    flags = ("--queries", str(tmp_path / "queries.txt"), "--json")

    found = json.loads(call(corpus, sample_model, *flags))

    assert found["num_queries"] == 2
    assert found["sample"]["num_documents"] == 60
    assert 0.5 < found["overlap"]["mean"] <= 1.0


def test_a_card_without_fp8_is_named_before_anything_is_read(
    card: list[Gpu], corpus: Path, sample_model: Path
) -> None:
    card[:] = [A100]

    assert "NVIDIA A100, has no fp8 arithmetic" in call(corpus, sample_model, expect=2)


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--server-url", "http://gpu:1"), "servers that are started for it"),
        (("--queries", "nowhere.txt"), "nowhere.txt cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    corpus: Path, sample_model: Path, flags: tuple[str, ...], message: str
) -> None:
    assert message in call(corpus, sample_model, *flags, expect=2)


@pytest.mark.usefixtures("card")
def test_a_corpus_of_a_few_chunks_says_nothing(tmp_path: Path, sample_model: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "text": ["One text."]}), tmp_path / "one.parquet")

    assert "1 chunk is too little" in call(tmp_path / "one.parquet", sample_model, expect=2)


def test_the_cpu_is_no_card_for_it(card: list[Gpu], corpus: Path, sample_model: Path) -> None:
    card.clear()

    assert "computes in no fewer than 16 bits" in call(corpus, sample_model, expect=2)
