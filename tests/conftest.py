"""Fixtures that several test modules share."""

import subprocess
import sys
from pathlib import Path

import pytest

from embed_index.pipeline.model.files import find_model
from embed_index.pipeline.model.tokenizer import ModelTokenizer

pytest_plugins = [
    "job_fixtures",
    "key_fixtures",
    "milvus_fixtures",
    "process_marks",
    "sglang_fixtures",
]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def sample_corpus() -> Path:
    return ROOT / "sample_data" / "corpus"


@pytest.fixture(scope="session")
def sample_model() -> Path:
    """The small lexical checkpoint; building it again costs nothing while it is current."""
    folder = ROOT / ".cache" / "sample-model"
    subprocess.run(
        [sys.executable, str(ROOT / "sample_data" / "build_model.py"), str(folder)],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="session")
def tokenizer(sample_model: Path) -> ModelTokenizer:
    return ModelTokenizer.load(find_model(str(sample_model)))
