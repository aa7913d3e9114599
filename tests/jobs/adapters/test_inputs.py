"""What is refused before anything is started or asked."""

import json
import shutil
from dataclasses import replace

import pytest
from job_fixtures import JobFolder

from embed_index.pipeline.ledger.ledger import Ledger


def with_positions(job: JobFolder, num_positions: int) -> JobFolder:
    """The job with the same model, made for shorter texts."""
    folder = job.folder / "short-model"
    shutil.copytree(job.model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "max_position_embeddings": num_positions})
    )
    return replace(job, model=folder)


def arguments(job: JobFolder, command: str) -> list[str]:
    model = ["--model", str(job.model), "--max-tokens", "2048"]
    if command == "serve":
        key_file = job.folder / "key"
        key_file.write_text(job.server.key)
        key_file.chmod(0o600)
        return ["serve", "--key-file", str(key_file), *model]
    if command in ("verify", "retry"):
        _, *flags = job.arguments()
        at = flags.index("--collection")
        return [command, job.collection, *flags[:at], *flags[at + 2 :], *model]
    return [command, *job.arguments()[1:], *model]


@pytest.mark.parametrize("command", ["run", "verify", "retry", "serve", "doctor"])
def test_chunks_longer_than_the_models_positions_are_refused_by_name(
    lite_job: JobFolder, command: str
) -> None:
    job = with_positions(lite_job, 512)
    job.write({"a": "A text."})
    num_embedded = job.server.num_embedded
    # Without a ledger there is nothing to try again.
    Ledger(job.ledger).close()

    done = job.call(*arguments(job, command), expect=2)

    message = "max_tokens: 2,048 is more than the 512 positions of short-model"
    assert message in done.stdout + done.stderr
    assert "Set --max-tokens to at most 512" in done.stdout + done.stderr
    if command != "doctor":
        assert job.server.num_embedded == num_embedded
        assert not (job.folder / "store.db").exists()


@pytest.mark.parametrize("dimension", [5_000, 99_999])
def test_a_dimension_that_the_model_has_not_is_refused_with_those_that_it_has(
    lite_job: JobFolder, dimension: int
) -> None:
    lite_job.write({"a": "A text."})

    done = lite_job.call(*lite_job.arguments("--dimension", str(dimension)), expect=2)

    assert f"dimension: {dimension} is outside what" in done.stderr
    assert "Choose a dimension from 32 to" in done.stderr


def test_a_model_that_the_test_texts_do_not_fit_is_refused(lite_job: JobFolder) -> None:
    job = with_positions(lite_job, 512)
    job.write({"a": "A text."})

    done = job.run(expect=2)

    assert "model: short-model has 512 positions" in done.stderr


def test_a_query_longer_than_the_models_positions_is_refused(lite_job: JobFolder) -> None:
    job = with_positions(lite_job, 1024)
    job.write({"a": "A text."})
    job.run()
    where = ("--milvus-uri", job.uri, "--model", str(job.model))

    job.call("search", job.collection, "text " * 500, *where)
    done = job.call("search", job.collection, "text " * 1100, *where, expect=2)

    assert "and the model sees 1,024" in done.stderr


@pytest.mark.parametrize("command", ["run", "serve", "doctor"])
@pytest.mark.parametrize("is_pointer", [True, False])
def test_weights_that_no_server_can_load_are_refused_before_one_starts(
    lite_job: JobFolder, command: str, is_pointer: bool
) -> None:
    folder = lite_job.folder / "model"
    shutil.copytree(lite_job.model, folder)
    (weights,) = folder.glob("*.safetensors")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1191586416\n"
    weights.write_bytes(pointer if is_pointer else weights.read_bytes()[:-1])
    job = replace(lite_job, model=folder)
    job.write({"a": "A text."})
    own_server = {"EMBEDDING_API_BASE": ""}
    given = arguments(job, command)[:-2]

    done = job.call(*given, expect=2, environment=own_server)

    said = done.stdout + done.stderr
    assert f"{weights} is {'a pointer of Git LFS' if is_pointer else 'cut off'}" in said
    assert not list(job.state.glob("logs/*"))
    assert ("git lfs pull" in said) is is_pointer


def test_another_servers_weights_need_not_be_here(lite_job: JobFolder) -> None:
    folder = lite_job.folder / "model"
    shutil.copytree(lite_job.model, folder)
    (weights,) = folder.glob("*.safetensors")
    weights.unlink()
    job = replace(lite_job, model=folder)
    job.write({"a": "A text."})

    job.run()


def test_a_tokenizer_that_git_lfs_has_not_fetched_is_named_as_such(lite_job: JobFolder) -> None:
    folder = lite_job.folder / "model"
    shutil.copytree(lite_job.model, folder)
    (folder / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    job = replace(lite_job, model=folder)
    job.write({"a": "A text."})

    assert "tokenizer.json of model is a pointer of Git LFS" in job.run(expect=2).stderr


def test_a_corpus_is_looked_at_before_a_model_is_asked_for(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that does not answer is asked for most of a minute."""
    monkeypatch.setattr(
        "embed_index.jobs.adapters.inputs.find_model",
        lambda *_, **__: pytest.fail("a model was asked for"),
    )

    done = lite_job.run(expect=2)

    assert "corpus does not exist" in done.stderr
