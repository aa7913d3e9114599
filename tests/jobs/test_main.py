"""The command line: help, exit codes, messages, and what the commands hand on."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from cpu_time import cpu_seconds_of_children

from embed_index.jobs.cli import failures
from embed_index.jobs.collections.search import SearchOptions, search_each, search_in_turn
from embed_index.jobs.commands import deploy, keys
from embed_index.jobs.main import COMMANDS, cli
from embed_index.pipeline.milvus.stored import Hit, StoredChunk
from embed_index.pipeline.secrecy.redaction import REDACTOR, Redactor
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.description import CollectionDescription, VersionDescription
from embed_index.schemas.errors import (
    ConfigurationError,
    ContractError,
    DeadLetterLimitError,
    DriftError,
    EmbedIndexError,
    LockHeldError,
    ServerError,
    StoreError,
)

SECRET = "sk-very-secret-value"
RUN = ("run", "--input", "corpus", "--collection", "articles")
HEAVY = ("torch", "sglang", "pymilvus", "pyarrow", "pydantic", "httpx", "numpy", "tqdm")

HIT = Hit(
    score=0.87654,
    version="articles_v2",
    chunk=StoredChunk(
        chunk_id="00ff",
        doc_id="doc-1",
        chunk_index=0,
        num_chunks=2,
        char_start=0,
        char_end=30,
        num_tokens=9,
        doc_hash="aa",
        text_complete=True,
        source="a.parquet#0:3",
        carried={"product": "cloud"},
        text="First line.\n\x1b[31mSecond\tline ü",
    ),
)
DESCRIPTION = CollectionDescription(
    collection="articles",
    milvus="milvus.db",
    carried=(CarriedColumn(name="product", type="text"),),
    has_words=False,
    num_documents=1234,
    versions=(
        VersionDescription(name="articles_v1", live=False, num_chunks=10),
        VersionDescription(name="articles_v2", live=True, num_chunks=2345),
    ),
    contract=CollectionContract(
        collection_id="x",
        model="Qwen/Qwen3-Embedding-0.6B",
        model_revision="r",
        tokenizer_fingerprint="t",
        dimension=64,
        dtype="float32",
        document_prompt="",
        query_prompt="Instruct: find\nQuery:",
        max_tokens=512,
        overlap_tokens=0,
        carried_columns=("product",),
        engine="sglang 0.5.23",
    ),
)


class Wiring(SimpleNamespace):
    """Stands where the commands hand on; keeps what it was given."""

    def __init__(self) -> None:
        super().__init__(calls=[], failure=None, hits=[HIT])
        self.SearchOptions, self.search_each = SearchOptions, search_each
        self.search_in_turn = search_in_turn

    def answer(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        if self.failure is not None:
            raise self.failure
        return result

    def run_index_job(self, *args: Any, **kwargs: Any) -> Any:
        return self.answer(None, *args, **kwargs)

    def search_collection(self, *args: Any, **kwargs: Any) -> Any:
        return self.answer(self.hits, *args, **kwargs)

    def describe_collection(self, *args: Any, **kwargs: Any) -> Any:
        return self.answer(DESCRIPTION, *args, **kwargs)

    def serve_until_stopped(self, *args: Any, **kwargs: Any) -> Any:
        return self.answer(None, *args, **kwargs)


@pytest.fixture
def wiring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wiring:
    double = Wiring()
    for module in ("runs.index", "collections.search", "collections.description", "serving.server"):
        monkeypatch.setitem(sys.modules, f"embed_index.jobs.{module}", double)
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith(("EMBED", "MILVUS", "CREDENTIALS_DIRECTORY")):
            monkeypatch.delenv(name)
    return double


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def commands(group: click.Group = cli, *above: str) -> Iterator[tuple[str, click.Command]]:
    """Every command with its whole name, such as `keys rotate`; a group comes before its own."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*above, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (None, 0),
        (ZeroDivisionError("x"), 1),
        (EmbedIndexError("x"), 1),
        (ConfigurationError("x"), 2),
        (ContractError("x"), 2),
        (DeadLetterLimitError("x"), 3),
        (ServerError("x"), 4),
        (StoreError("x"), 4),
        (LockHeldError("x"), 5),
        (DriftError("x"), 6),
        (PermissionError(13, "Permission denied", "/srv/state/x.lock"), 2),
        (PermissionError(1, "Operation not permitted"), 1),
        (KeyboardInterrupt(), 130),
        (ExceptionGroup("tasks", [StoreError("x"), ValueError("y")]), 4),
        (ExceptionGroup("outer", [ExceptionGroup("inner", [LockHeldError("x")])]), 5),
        (BaseExceptionGroup("tasks", [KeyboardInterrupt(), ValueError("y")]), 130),
    ],
)
def test_failure_decides_the_exit_code(
    wiring: Wiring, failure: BaseException | None, code: int
) -> None:
    wiring.failure = failure

    assert invoke(*RUN).exit_code == code


def test_expected_failure_is_a_message_and_a_remedy_on_standard_error(wiring: Wiring) -> None:
    wiring.failure = ExceptionGroup("tasks", [StoreError("Milvus is away", remedy="Start it.")])

    result = invoke(*RUN)

    assert result.stderr == "error: articles: Milvus is away\nStart it.\n"
    assert result.stdout == ""


def test_a_file_of_another_user_is_named_and_no_bug(wiring: Wiring) -> None:
    wiring.failure = PermissionError(13, "Permission denied", "/srv/state/x.lock")

    result = invoke(*RUN)

    assert result.exit_code == 2
    assert result.stderr == (
        "error: articles: /srv/state/x.lock: Permission denied\n"
        "Run it as the user that the job runs as, and let that one in there.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "variables"), [(("--debug",), {}), ((), {"EMBED_INDEX_DEBUG": "1"})]
)
def test_debug_shows_the_traceback_of_an_expected_failure(
    wiring: Wiring, arguments: tuple[str, ...], variables: dict[str, str]
) -> None:
    wiring.failure = StoreError("Milvus is away", remedy="Start it.")

    result = CliRunner().invoke(cli, [*arguments, *RUN], env=variables)

    assert "Traceback" in result.stderr
    assert result.stderr.startswith("error: articles: Milvus is away\nStart it.\n")


def test_bug_shows_its_traceback_without_secrets(wiring: Wiring) -> None:
    (Path(".env")).write_text(f"EMBEDDING_API_KEY={SECRET}\n")
    wiring.failure = RuntimeError(f"sent {SECRET}, 'Bearer abc.def' to http://u:pw@host/x")

    result = invoke(*RUN)

    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "sent ***, 'Bearer ***' to http://***@host/x" in result.stderr
    assert "This is a bug in embed-index" in result.stderr
    assert SECRET not in result.output


def test_failure_is_a_json_line_where_logs_are_json(wiring: Wiring) -> None:
    wiring.failure = LockHeldError("another run works on articles", remedy="Wait for it.")

    result = invoke(*RUN, "--log-format", "json")
    event = json.loads(result.stderr)

    assert result.exit_code == 5
    assert event.pop("time").endswith("+00:00")
    assert event == {
        "event": "error",
        "error": "LockHeldError",
        "collection": "articles",
        "message": "another run works on articles",
        "remedy": "Wait for it.",
        "exit_code": 5,
    }


def test_remembered_secrets_are_scrubbed_longest_first() -> None:
    REDACTOR.remember("abcd-part", "abcd-part-and-more", "abc")

    assert REDACTOR.scrub("abcd-part-and-more abcd-part abc") == "*** *** abc"


def test_remembered_secrets_are_scrubbed_as_python_and_json_write_them() -> None:
    secret = 'back\\slash"quote'
    redactor = Redactor()
    redactor.remember(secret)

    assert redactor.scrub(f"{[secret]} {json.dumps([secret])}") == "['***'] [\"***\"]"


def test_closed_standard_output_ends_the_command_quietly(repository: Path) -> None:
    process = subprocess.Popen(
        [*PYTHON, "run", "--show-config"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=repository / "tests",
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (failures.CLOSED_PIPE, b"")


@pytest.mark.parametrize(
    ("arguments", "stream", "code"),
    [
        (("run", "--collection", "docs"), "stderr", 2),
        (("run", "--show-config"), "stdout", 4),
    ],
)
def test_a_log_on_a_full_disk_does_not_look_like_a_bug(
    repository: Path, arguments: tuple[str, ...], stream: str, code: int
) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PYTHON, *arguments],
            cwd=repository / "tests",
            # Most people's streams are buffered, and flushed once more at the end.
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            timeout=60,
            **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: full}),  # type: ignore[call-overload]
        )

    assert done.returncode == code
    assert b"Traceback" not in (done.stdout or b"") + (done.stderr or b"")


@pytest.mark.parametrize("arguments", [("keys", "generate", "--key-file", "k"), ("doctor",)])
def test_a_working_folder_that_is_gone_is_no_bug(
    wiring: Wiring, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    Path("gone").mkdir()
    os.chdir("gone")
    (tmp_path / "gone").rmdir()

    result = invoke(*arguments)

    assert result.exit_code == 2
    assert result.stderr.startswith("error: the working folder does not exist any more\n")


def test_serve_reads_its_key_anew_although_its_folder_is_gone(
    wiring: Wiring, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(SECRET)
    key_file.chmod(0o600)
    Path("gone").mkdir()
    os.chdir("gone")

    assert invoke("serve", "--key-file", str(key_file)).exit_code == 0
    (tmp_path / "gone").rmdir()
    ((_, keywords),) = wiring.calls

    assert keywords["reload"]().settings.secrets() == (SECRET,)


def test_broken_pipe_to_another_process_is_not_mistaken_for_standard_output(wiring: Wiring) -> None:
    wiring.failure = BrokenPipeError(32, "Broken pipe")

    assert invoke(*RUN).exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("run", "--nonsense"), ("run", "--dimension", "x"), ("search", "articles")],
)
def test_usage_errors_exit_with_2(wiring: Wiring, arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments).exit_code == 2
    assert wiring.calls == []


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [(("run",), "input"), (("run", "--input", "x"), "collection"), (("serve",), "server_key")],
)
def test_command_names_the_setting_that_it_cannot_do_without(
    wiring: Wiring, arguments: tuple[str, ...], missing: str
) -> None:
    result = invoke(*arguments)

    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {missing} is not set")


def test_run_hands_on_settings_and_a_reporter(wiring: Wiring) -> None:
    Path("job.toml").write_text('[source]\ninput = "corpus"\n[milvus]\ncollection = "articles"\n')

    result = invoke("run", "job.toml", "--no-quiet", "--carry", "a,b", "--rebuild")
    ((settings,), keywords) = wiring.calls[0]

    assert result.exit_code == 0, result.output
    assert settings.input == (str(Path.cwd() / "corpus"),)
    assert (settings.collection, settings.carry) == ("articles", ("a", "b"))
    assert (settings.rebuild, settings.quiet) == (True, False)
    assert list(keywords) == ["reporter"]


@pytest.mark.parametrize(
    "arguments",
    [("run",), ("search", "articles", "x"), ("describe", "articles"), ("serve",)],
    ids=lambda arguments: str(arguments[0]),
)
def test_show_config_prints_and_does_nothing_else(
    wiring: Wiring, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDDING_API_KEY", SECRET)

    result = invoke(*arguments, "--milvus-db" if arguments[0] != "serve" else "--model", "shown",
                    "--show-config")  # fmt: skip

    assert result.exit_code == 0
    assert '"shown"  # flag --' in result.stdout
    assert '# key = "***"  # environment EMBEDDING_API_KEY' in result.stdout
    assert SECRET not in result.output
    assert wiring.calls == []


def test_search_prints_rank_score_document_span_source_and_snippet(wiring: Wiring) -> None:
    result = invoke("search", "articles", "how?", "--limit", "3", "--filter", "product == 'x'")

    assert result.stdout == (
        "  1  0.8765  doc-1  (chars 0-30, chunk 1/2)  a.parquet#0:3\n"
        "     First line. �[31mSecond line ü\n"
    )
    asked = dict(wiring.calls[0][1])
    assert callable(asked.pop("tell"))
    assert asked == {
        "collection": "articles",
        "text": "how?",
        "options": SearchOptions(limit=3, expression="product == 'x'"),
    }


def test_search_prints_json(wiring: Wiring) -> None:
    (hit,) = json.loads(invoke("search", "articles", "how?", "--json").stdout)

    assert (hit["rank"], hit["doc_id"], hit["text"]) == (1, "doc-1", HIT.chunk.text)
    assert hit["carried"] == {"product": "cloud"}
    assert "vector" not in hit


def test_search_without_hits_says_so_beside_an_empty_result(wiring: Wiring) -> None:
    wiring.hits = []

    text, as_json = invoke("search", "a", "b"), invoke("search", "a", "b", "--json")

    assert (text.stdout, text.stderr, text.exit_code) == ("", "no chunk found\n", 0)
    assert json.loads(as_json.stdout) == []


def test_long_texts_are_cut_in_search_results(wiring: Wiring) -> None:
    wiring.hits = [replace(HIT, chunk=replace(HIT.chunk, text="word " * 1000))]

    _, line = invoke("search", "a", "b").stdout.splitlines()

    assert line.endswith("word…")
    assert len(line) < 250


def test_describe_prints_versions_and_contract(wiring: Wiring) -> None:
    text = invoke("describe", "articles").stdout
    described = json.loads(invoke("describe", "articles", "--json").stdout)

    assert "articles_v2            2,345 chunks, live" in text
    assert "dimension              64" in text
    assert 'query_prompt           "Instruct: find\\nQuery:"' in text
    assert described["num_documents"] == 1234
    assert described["versions"][0] == {"name": "articles_v1", "live": False, "num_chunks": 10}
    assert described["contract"]["dimension"] == 64


def test_serve_takes_its_key_from_a_file(wiring: Wiring) -> None:
    key_file = Path("key")
    key_file.write_text(SECRET)
    key_file.chmod(0o600)

    result = invoke("serve", "--key-file", "key", "--server-port", "31000")
    ((loaded,), keywords) = wiring.calls[0]

    assert result.exit_code == 0
    assert loaded.settings.server_key.get_secret_value() == SECRET
    assert loaded.settings.server_port == 31000
    key_file.write_text("another-key")
    assert keywords["reload"]().settings.server_key.get_secret_value() == "another-key"


def test_no_command_takes_a_secret_as_argument() -> None:
    flags = {flag for _, command in commands() for param in command.params for flag in param.opts}

    assert "--key-file" in flags
    # One names a file of mode 0600, as `--key-file` does, and the other a column.
    assert {flag for flag in flags if flag.endswith(("-key", "-token", "-password"))} == {
        "--milvus-client-key",
        "--partition-key",
    }


def test_every_command_is_listed_with_the_beginning_of_its_own_help() -> None:
    listed = {
        **COMMANDS,
        **{f"keys {name}": text for name, text in keys.COMMANDS.items()},
        **{f"deploy {name}": text for name, text in deploy.COMMANDS.items()},
    }

    assert {name for name, _ in commands()} == {*listed}
    assert cli.list_commands(click.Context(cli)) == list(COMMANDS)
    for name, command in commands():
        *above, own = name.split()
        assert command.help is not None
        assert command.help.startswith(listed[name])
        assert f"{own} " in invoke(*above, "--help").stdout
        assert listed[name] in " ".join(invoke(*above, "--help").stdout.split())


def test_every_option_has_a_help_and_every_command_an_example() -> None:
    for name, command in commands():
        assert f"embed-index {name}" in (command.help or "")
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.help, f"{name} {param.opts}"
                assert invoke(*name.split(), "--help").stdout.count(param.opts[0]) >= 1


PYTHON = (sys.executable, "-c", "import sys; from embed_index.jobs.main import main; main()")


def test_help_answers_in_under_300_ms(repository: Path) -> None:
    def seconds() -> float:
        begin = cpu_seconds_of_children()
        subprocess.run(
            [*PYTHON, "--help"], check=True, capture_output=True, cwd=repository / "tests"
        )
        return cpu_seconds_of_children() - begin

    assert min(seconds() for _ in range(5)) < 0.3


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (("--help",), HEAVY),
        (("--version",), HEAVY),
        (("run", "--help"), ("torch", "sglang", "pymilvus", "pyarrow", "numpy", "tqdm")),
    ],
)
def test_help_imports_nothing_heavy(
    repository: Path, arguments: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    script = (
        "import sys\nfrom embed_index.jobs.main import cli\n"
        f"cli({list(arguments)!r}, standalone_mode=False)\n"
        "print('MODULES', *sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        cwd=repository / "tests",
    ).stdout
    modules = set(output.rpartition("MODULES ")[2].split())

    assert "click" in modules
    assert not modules & set(absent)


def test_version_names_what_a_bug_report_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"embed-index": "1.2.3", "sglang": "0.5.23", "milvus-lite": "3.2.2"}

    def version(distribution: str) -> str:
        if distribution not in installed:
            raise importlib.metadata.PackageNotFoundError(distribution)
        return installed[distribution]

    monkeypatch.setattr("importlib.metadata.version", version)

    assert invoke("--version").stdout == (
        "embed-index 1.2.3 (sglang 0.5.23, pymilvus not installed, milvus-lite 3.2.2,"
        f" Python {platform.python_version()})\n"
    )
