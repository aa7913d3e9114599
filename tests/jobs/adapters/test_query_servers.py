"""Which server embeds queries: one that is named, this host's own, or one that is started."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from job_fixtures import JobFolder
from library_fixtures import DOCUMENTS
from serve_process import ServeProcess
from sglang_fixtures import light_environment

from embed_index import ConfigurationError, ServerError, open_collection
from embed_index.jobs.adapters import query_servers
from embed_index.jobs.main import cli


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting comes from anywhere else."""
    monkeypatch.chdir(tmp_path)
    for name in ("EMBEDDING_API_BASE", "EMBEDDING_API_KEY", "EMBED_INDEX_MODEL", "MILVUS_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve(tmp_path: Path, sample_model: Path, key_file: Path) -> Iterator[ServeProcess]:
    """A `serve` whose SGLang is the stand-in, with the vectors of the hashing server."""
    arguments = ("--key-file", str(key_file))
    with ServeProcess(
        tmp_path, *arguments, model=sample_model, environ=light_environment()
    ) as running:
        running.wait_ready()
        yield running
        running.end()


def search(job: JobFolder, *arguments: str, state: Path) -> Result:
    where = ["--milvus-uri", job.uri, "--state-dir", str(state), "--limit", "1"]
    query = DOCUMENTS["pump"]
    return CliRunner().invoke(cli, ["search", job.collection, query, *where, *arguments])


@pytest.mark.usefixtures("nowhere")
def test_a_server_that_runs_here_is_found_with_its_model_and_used(
    library_job: JobFolder, serve: ServeProcess, key_file: Path, tmp_path: Path
) -> None:
    found = search(library_job, "--key-file", str(key_file), state=serve.state)
    keyless = search(library_job, state=serve.state)
    other = tmp_path / "other"
    other.touch(mode=0o600)
    other.write_text("another-key-of-some-length")
    refused = search(library_job, "--key-file", str(other), state=serve.state)
    with open_collection(
        library_job.collection,
        milvus_uri=library_job.uri,
        key_file=key_file,
        state_dir=serve.state,
    ) as collection:
        (hit,) = collection.search(DOCUMENTS["pump"], limit=1)

    assert found.exit_code == 0, found.output
    assert found.stdout.split()[2] == "pump"
    assert found.stderr == ""
    assert hit.doc_id == "pump"
    assert keyless.exit_code == 2
    assert keyless.stderr == (
        f"error: server_key: `embed-index serve` runs at {serve.record.url}, and its key is not"
        f" given\nGive --key-file {key_file}, or put EMBEDDING_API_KEY into .env.\n"
    )
    assert refused.exit_code == 4
    assert "it does not know the key" in refused.stderr
    key = key_file.read_text().strip()
    assert not [said for said in (found, keyless, refused) if key in said.output]


@pytest.mark.usefixtures("nowhere")
def test_a_program_starts_no_server_and_says_how_to(library_job: JobFolder) -> None:
    with (
        open_collection(
            library_job.collection, milvus_uri=library_job.uri, model=library_job.model
        ) as collection,
        pytest.raises(ServerError, match="no embedding server is named") as raised,
    ):
        collection.search("x")

    assert "Start one with `embed-index serve`" in raised.value.remedy


@pytest.mark.usefixtures("nowhere")
def test_only_a_command_starts_one_and_says_how_to_avoid_it(
    library_job: JobFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def choose(settings: object, *, request: object, max_servers: int, log_owner: str) -> object:
        asked.append(request)
        raise ServerError("not in this test")

    monkeypatch.setattr(query_servers, "choose_service", choose)

    done = search(library_job, "--model", str(library_job.model), state=tmp_path / "state")

    assert done.exit_code == 4
    assert done.stderr == (
        "starting an embedding server for this search alone, which takes a while; `embed-index"
        " serve` keeps one, and searches from this folder find it\nerror: not in this test\n"
    )
    assert asked[0].max_tokens == 1024 + len(DOCUMENTS["pump"])  # type: ignore[attr-defined]


@pytest.mark.usefixtures("nowhere")
def test_a_key_is_given_once(library_job: JobFolder, key_file: Path) -> None:
    with pytest.raises(ConfigurationError, match="key and key_file are both given"):
        open_collection(
            library_job.collection, milvus_uri=library_job.uri, key="k", key_file=key_file
        )
