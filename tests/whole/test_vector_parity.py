"""The vectors in the collection against Hugging Face Transformers, in float32."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sglang_fixtures import RunningServer

from embed_index.pipeline.milvus.store import open_store
from embed_index.schemas.records import Vectors

REFERENCE = """
import json, sys
import numpy as np
from embed_index.pipeline.server.cpu_platform import declare_torchvision_operators
declare_torchvision_operators()
import torch
from transformers import AutoModel, AutoTokenizer
model_folder, texts_file, vectors_file = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model_folder)
model = AutoModel.from_pretrained(model_folder, dtype=torch.float32).eval()
rows = []
with torch.no_grad():
    for text in json.load(open(texts_file)):
        encoded = tokenizer(text, return_tensors="pt")
        rows.append(model(**encoded).last_hidden_state[0, -1].numpy())
np.save(vectors_file, np.stack(rows))
"""


def reference_vectors(model: Path, texts: list[str], folder: Path) -> Vectors:
    """Last-token states before normalisation, from a process of their own: torch is large."""
    (folder / "texts.json").write_text(json.dumps(texts))
    subprocess.run(
        [sys.executable, "-c", REFERENCE, str(model), str(folder / "texts.json"),
         str(folder / "vectors.npy")],
        check=True,
        capture_output=True,
    )  # fmt: skip
    vectors: Vectors = np.load(folder / "vectors.npy")
    return vectors


def normalised(vectors: Vectors) -> Vectors:
    rows: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return rows


SCRIPTS = {"Japanese": "[ぁ-んァ-ン]", "Arabic": "[ء-ي]", "Chinese": "[一-龥]", "Latin": "[A-Za-z]"}


def texts_in_four_scripts(corpus: Path) -> dict[str, str]:
    """Fifty documents of one chunk each, every script among them."""
    by_script: dict[str, dict[str, str]] = {script: {} for script in SCRIPTS}
    for name in ("mixed", "tickets-en", "tickets-zh"):
        table = pq.read_table(corpus / f"{name}.parquet")
        for doc_id, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
            script = next((s for s, letters in SCRIPTS.items() if re.search(letters, text)), None)
            if script and len(text) < 700 and len(by_script[script]) < 20:
                by_script[script][doc_id] = text
    assert all(len(texts) >= 4 for texts in by_script.values())
    chosen = {doc_id: text for texts in by_script.values() for doc_id, text in texts.items()}
    assert len(chosen) >= 50
    return dict(list(chosen.items())[:50])


@pytest.fixture(scope="module")
def texts(sample_corpus: Path) -> dict[str, str]:
    return texts_in_four_scripts(sample_corpus)


@pytest.fixture(scope="module")
def references(
    sample_model: Path, texts: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Vectors]:
    """By text, of full width and not normalised."""
    folder = tmp_path_factory.mktemp("reference")
    vectors = reference_vectors(sample_model, list(texts.values()), folder)
    return dict(zip(texts.values(), vectors, strict=True))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("dimension", [512, 64])
def test_stored_vectors_equal_transformers_cut_and_normalised(
    tmp_path: Path,
    sample_model: Path,
    texts: dict[str, str],
    references: dict[str, Vectors],
    sglang_server: RunningServer,
    dimension: int,
) -> None:
    table = pa.table({"id": list(texts), "text": list(texts.values())})
    pq.write_table(table, tmp_path / "texts.parquet")
    subprocess.run(
        [sys.executable, "-m", "embed_index.jobs.main", "run", "--input", "texts.parquet",
         "--collection", "parity", "--milvus-uri", "parity.db", "--model", str(sample_model),
         "--dimension", str(dimension)],
        cwd=tmp_path,
        check=True,
        env=os.environ
        | {
            "EMBEDDING_API_BASE": sglang_server.server.url,
            "EMBEDDING_API_KEY": sglang_server.server.key.get_secret_value(),
        },
    )  # fmt: skip

    with open_store(str(tmp_path / "parity.db")) as store:
        chunks = list(store.reader.iter_chunks("parity_v1", with_text=True, with_vectors=True))
    assert {chunk.text for chunk in chunks} == set(texts.values())
    stored = np.stack([chunk.vector for chunk in chunks if chunk.vector is not None])
    expected = np.stack([references[chunk.text or ""] for chunk in chunks])
    cosines = (stored * normalised(expected[:, :dimension])).sum(axis=1)

    assert stored.shape == (50, dimension)
    assert cosines.min() >= 0.9999
    assert np.allclose(np.linalg.norm(stored, axis=1), 1.0, atol=1e-5)
