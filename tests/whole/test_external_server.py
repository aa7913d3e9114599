"""Whole runs on embedding servers that somebody else runs."""

import json
import shutil
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hash_embedding_server import WIDTH, HashEmbeddingServer, vector_of
from job_fixtures import JobFolder, hashes_of
from sglang_fixtures import RunningServer, stock_server

from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.ids import chunk_id

DOCUMENTS = {f"d{n}": f"Document number {n} speaks of printers and pumps." for n in range(40)}


@pytest.fixture
def modest_server() -> Iterator[HashEmbeddingServer]:
    """Numbers instead of base64, one width, few inputs at once: /v1/embeddings and no more."""
    with HashEmbeddingServer(plain=True, max_inputs=3) as server:
        yield server


def test_a_run_on_a_server_that_only_embeds_is_whole_and_says_what_is_missing(
    lite_job: JobFolder, modest_server: HashEmbeddingServer, tokenizer: ModelTokenizer
) -> None:
    job = replace(lite_job, server=modest_server)
    job.write(DOCUMENTS)

    done = job.run()

    assert job.doc_hashes("v1") == hashes_of(DOCUMENTS)
    assert job.history()[0]["num_dead_letters"] == 0
    for missing in ("its model's name", "its longest input", "cutting vectors", "base64"):
        assert missing in done.stderr
    ids = tokenizer.encode_for_model(DOCUMENTS["d7"]).tolist()
    uncut = np.frombuffer(vector_of(ids, dimension=WIDTH), dtype="<f4")[:64]
    with job.open_store() as store:
        version = f"{job.collection}_v1"
        stored = store.reader.fetch_vectors(version, [chunk_id("d7", 0)])[chunk_id("d7", 0)]
    assert stored == pytest.approx(uncut / np.linalg.norm(uncut), abs=1e-6)


def test_a_server_too_small_for_the_canaries_is_named(lite_job: JobFolder) -> None:
    with HashEmbeddingServer(max_inputs=2) as server:
        job = replace(lite_job, server=server)
        job.write(DOCUMENTS)

        done = job.run(expect=4)

    assert "refuses the canary texts" in done.stderr
    assert "3 inputs in one request" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stock_sglang_server_is_used_and_its_limits_are_kept(
    lite_job: JobFolder, sample_model: Path, tmp_path: Path
) -> None:
    with stock_server(sample_model, log=tmp_path / "sglang.log") as (url, key):
        lite_job.write(DOCUMENTS)
        server = {"EMBEDDING_API_BASE": f"{url}/v1/", "EMBEDDING_API_KEY": key}

        done = lite_job.run(environment=server)
        hits = lite_job.on_collection(
            "search", "document 7", "--model", str(sample_model), environment=server
        )
        too_long = lite_job.run("--rebuild", "--max-tokens", "4096", environment=server, expect=2)
        wrong_key = {**server, "EMBEDDING_API_KEY": "wrong"}
        refused = lite_job.run("--rebuild", environment=wrong_key, expect=4)

    assert lite_job.doc_hashes("v1") == hashes_of(DOCUMENTS)
    assert "lacks: cutting vectors to a dimension (done here)." in done.stderr
    assert "chars" in hits.stdout
    assert "inputs of at most 4,095 tokens, and this job needs 4,096" in too_long.stderr
    assert "refuses the key (status 401: Unauthorized)" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_another_precision_passes_and_one_changed_weight_is_refused(
    lite_job: JobFolder, sglang_server: RunningServer, sample_model: Path, tmp_path: Path
) -> None:
    key = sglang_server.server.key.get_secret_value()
    in_float32 = {"EMBEDDING_API_BASE": sglang_server.server.url, "EMBEDDING_API_KEY": key}
    changed_model = tmp_path / "changed" / sample_model.name
    shutil.copytree(sample_model, changed_model)
    grow_first_value(changed_model / "model.safetensors", by=1.5)
    lite_job.write(DOCUMENTS)
    lite_job.run(environment=in_float32)

    # As configured, SGLang takes the checkpoint's bfloat16.
    lite_job.write({**DOCUMENTS, "bf16": "Embedded in bfloat16."})
    with stock_server(sample_model, log=tmp_path / "bf16.log") as (url, key):
        lite_job.run(environment={"EMBEDDING_API_BASE": url, "EMBEDDING_API_KEY": key})
    lite_job.write({**DOCUMENTS, "changed": "Embedded by another model."})
    with stock_server(changed_model, "--dtype", "float32", log=tmp_path / "changed.log") as (
        url,
        key,
    ):
        refused = lite_job.run(
            environment={"EMBEDDING_API_BASE": url, "EMBEDDING_API_KEY": key}, expect=2
        )

    assert "bf16" in lite_job.doc_hashes("v1")
    assert "changed" not in lite_job.doc_hashes("v1")
    assert "gives the canary texts other vectors" in refused.stderr
    assert "Precision: float32 as recorded." in refused.stderr
    assert "--rebuild" in refused.stderr


def grow_first_value(weights: Path, *, by: float) -> None:
    """Change one number of the value projection, stored as bfloat16."""
    content = bytearray(weights.read_bytes())
    header_end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:header_end])
    start = header["model.layers.0.self_attn.v_proj.weight"]["data_offsets"][0]
    place = slice(header_end + start, header_end + start + 2)
    (value,) = struct.unpack("<f", b"\0\0" + content[place])
    assert value
    content[place] = struct.pack("<f", value * by)[2:]
    weights.write_bytes(content)
