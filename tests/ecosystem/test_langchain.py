"""The tools that search teams have open our collections as the documentation says.

Each stands in an environment of its own, made with pip; `make test-ecosystem` runs them.
"""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder
from library_fixtures import DOCUMENTS
from milvus_server import MilvusServer

LANGCHAIN = ("langchain-milvus==0.4.0", "langchain-core>=1.0,<2")


@pytest.fixture(scope="session")
def langchain(repository: Path) -> Path:
    """The Python of an environment with LangChain, which sees this one's packages beneath."""
    place = repository / ".cache" / "ecosystem" / "langchain"
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
    beneath = Path(sysconfig.get_path("purelib", vars={"base": str(place)})) / "beneath.pth"
    ours = sysconfig.get_path("purelib")
    beneath.write_text(f"import site; site.addsitedir({ours!r})\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *LANGCHAIN], check=True, timeout=600)
    return python


@pytest.mark.ecosystem
@pytest.mark.milvus_server
@pytest.mark.timeout(900)
def test_langchain_finds_what_we_find(
    langchain: Path,
    tmp_path: Path,
    sample_model: Path,
    hash_server: HashEmbeddingServer,
    milvus_server: MilvusServer,
    repository: Path,
) -> None:
    job = JobFolder(folder=tmp_path, uri=milvus_server.uri, model=sample_model, server=hash_server)
    job.write(DOCUMENTS)
    job.run()

    done = subprocess.run(
        [langchain, repository / "tests" / "ecosystem" / "langchain_peer.py",
         job.uri, job.collection, DOCUMENTS["pump"]],
        cwd=tmp_path,
        env=os.environ | job.environment | {"EMBED_INDEX_MODEL": str(job.model)},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["ours"]) == 5
    assert found["theirs"] == found["ours"]
