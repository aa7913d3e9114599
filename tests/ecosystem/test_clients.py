"""What other clients find in our collections, by the programs that the page about them has.

Each client stands in an environment of its own, made from the lock beside this file, and is not
told more than the page says. `make test-ecosystem` runs these.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest
from documentation import Page
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder
from milvus_server import MilvusServer
from sglang_fixtures import RunningServer
from wheel import build_wheel

from embed_index import Collection, open_collection

pytestmark = [pytest.mark.ecosystem, pytest.mark.milvus_server, pytest.mark.timeout(900)]

LIMIT = 5
_ADDRESS, _NAME, _QUERY = "http://127.0.0.1:19530", "articles", "how do I reset my password"
"""What the programs of the page ask for."""
_HIT = re.compile(r"^(-?[01]\.\d{4}) ([0-9a-f]{32}) ", re.MULTILINE)

Environment = Callable[[str], Path]


@dataclass(frozen=True, kw_only=True)
class Articles:
    """The sample corpus on a Milvus server, and the embedding server that it was made by."""

    job: JobFolder
    environment: dict[str, str]
    collection: Collection

    def fill(self, program: str) -> str:
        """Return a program of the page that asks for this collection."""
        version = program.replace(f"{_NAME}_v1", self.collection.version)
        return version.replace(_ADDRESS, self.job.uri).replace(_NAME, self.job.collection)


@pytest.fixture(scope="module")
def articles(
    tmp_path_factory: pytest.TempPathFactory,
    sample_corpus: Path,
    sample_model: Path,
    hash_server: HashEmbeddingServer,
    milvus_server: MilvusServer,
    sglang_server: RunningServer,
) -> Iterator[Articles]:
    folder = tmp_path_factory.mktemp("articles")
    (folder / "corpus").symlink_to(sample_corpus)
    server = sglang_server.server
    environment = {
        "EMBEDDING_API_BASE": server.url,
        "EMBEDDING_API_KEY": server.key.get_secret_value(),
        "EMBED_INDEX_MODEL": str(sample_model),
    }
    job = JobFolder(folder=folder, uri=milvus_server.uri, model=sample_model, server=hash_server)
    flags = ("--max-tokens", "512", "--dimension", "256", "--carry", "product")
    job.run(*flags, "--max-dead-letters", "20", environment=environment)
    with open_collection(
        job.collection,
        milvus_uri=job.uri,
        server_url=server.url,
        key=server.key.get_secret_value(),
        model=sample_model,
    ) as collection:
        yield Articles(job=job, environment=environment, collection=collection)


@pytest.fixture(scope="session")
def environment(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Make the environment of a client and return its folder of programs."""
    wheels: list[Path] = []

    def install(python: Path, *what: str | Path) -> None:
        pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "install"]
        subprocess.run([*pip, "--quiet", "--no-deps", *what], check=True, timeout=600)

    def make(client: str) -> Path:
        lock = repository / "tests" / "ecosystem" / f"{client}.lock"
        tag = hashlib.blake2b(lock.read_bytes(), digest_size=4).hexdigest()
        place = repository / ".cache" / "ecosystem" / f"{client}-{tag}"
        python, is_whole = place / "bin" / "python", place / "whole"
        if not is_whole.exists():
            bare = ("-m", "venv", "--clear", "--without-pip", place)
            subprocess.run([sys.executable, *bare], check=True)
            install(python, "-r", lock)
            is_whole.touch()
        if "." in lock.with_suffix(".in").read_text().split():
            if not wheels:
                wheels.append(build_wheel(repository, tmp_path_factory.mktemp("wheel")))
            install(python, "--force-reinstall", *wheels)
        return place / "bin"

    return make


@pytest.fixture(scope="session")
def page(repository: Path) -> Page:
    path = repository / "docs" / "other-clients.md"
    return Page(path, path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def queries(repository: Path) -> list[str]:
    """The first query of each language."""
    lines = (repository / "sample_data" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [(json.loads(line)["query"], json.loads(line)["doc_ids"][0]) for line in lines]
    first = {doc_id.split("-")[1]: query for query, doc_id in reversed(asked)}
    return list(first.values())


def run(
    command: list[str | Path],
    articles: Articles,
    folder: Path,
    *,
    typed: str = "",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> str:
    done = subprocess.run(
        command,
        input=typed,
        cwd=folder,
        # Some write into the home folder, and none may find this environment's packages.
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            **articles.environment,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("client", ["langchain", "haystack", "llamaindex", "pymilvus"])
def test_a_client_finds_what_our_own_search_finds_in_the_same_order(
    client: str,
    environment: Environment,
    articles: Articles,
    page: Page,
    queries: list[str],
    tmp_path: Path,
) -> None:
    programs = environment(client)
    (program,) = Page(page.path, page.marked(client)).blocks("python")
    assert program.count(_QUERY) == 1

    for query in queries:
        script = tmp_path / "search.py"
        script.write_text(articles.fill(program).replace(f'"{_QUERY}"', repr(query)))
        printed = run([programs / "python", script], articles, tmp_path)

        found = [(key, float(score)) for score, key in _HIT.findall(printed)]
        ours = articles.collection.search(query, limit=LIMIT)
        assert len(found) == LIMIT
        assert [key for key, _ in found] == [hit.chunk.chunk_id for hit in ours], query
        expected = pytest.approx([hit.score for hit in ours], abs=2e-4)
        assert [score for _, score in found] == expected, query


def test_the_notebook_finds_and_draws_it_too(
    environment: Environment, articles: Articles, repository: Path, tmp_path: Path
) -> None:
    programs = environment("notebook")
    committed = repository / "sample_data" / "query_the_server.ipynb"
    notebook = tmp_path / committed.name
    notebook.write_bytes(committed.read_bytes())
    place = {"MILVUS_URI": articles.job.uri, "EMBED_INDEX_COLLECTION": articles.job.collection}

    run(
        [programs / "jupyter-execute", "--inplace", notebook],
        articles,
        tmp_path,
        environment=place,
    )

    executed = notebook.read_text(encoding="utf-8")
    query = "the coffee machine asks to be descaled"
    best = articles.collection.search(query, limit=1)[0]
    assert executed.count(f"  1  {best.score:.4f}  {best.doc_id} ") == 2
    assert executed.count('"image/png"') == 1


def test_milvus_cli_shows_versions_alias_and_contract(
    environment: Environment, articles: Articles, page: Page, tmp_path: Path
) -> None:
    programs = environment("milvus-cli")
    (typed,) = Page(page.path, page.marked("milvus-cli")).blocks("text")

    printed = run([programs / "milvus_cli"], articles, tmp_path, typed=articles.fill(typed))

    assert articles.collection.version in printed
    assert articles.job.collection in printed
    assert '"query_prompt"' in printed
    # The page warns of it.
    assert (tmp_path / ".milvus_cli_connections.json").exists()
