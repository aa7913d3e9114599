"""`doctor`: each remedy, shown with a thing that is really broken."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hash_embedding_server import WIDTH, HashEmbeddingServer
from milvus_server import MilvusServer
from safetensors.numpy import save_file

from embed_index.jobs.adapters.places import lock_path
from embed_index.jobs.examination import server as server_checks
from embed_index.jobs.examination.check import made
from embed_index.jobs.main import cli
from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.host import gpu as gpu_checks
from embed_index.pipeline.host import places as place_checks
from embed_index.pipeline.milvus.store import open_store
from embed_index.pipeline.server.gpus import Gpu
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.host_check import HostCheck
from embed_index.schemas.settings import JobSettings

SECRET = "sk-doctor-must-not-show-this"

Records = dict[str, dict[str, Any]]


@pytest.fixture
def host(tmp_path: Path, sample_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a job in good order, of which each test breaks one thing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("embed_index.pipeline.host.milvus._CONNECT_SECONDS", 1.0)
    for name in [*os.environ]:
        if name.startswith(("EMBED", "MILVUS", "CREDENTIALS_DIRECTORY")):
            monkeypatch.delenv(name)
    (tmp_path / "job.toml").write_text(
        f'[model]\nmodel = "{sample_model}"\n[milvus]\ncollection = "articles"\n'
    )
    return tmp_path


def doctor(*arguments: str | Path, expect: int) -> Records:
    given = ["doctor", "--json", "--job", "job.toml", *map(str, arguments)]
    done = CliRunner().invoke(cli, given)
    assert done.exit_code == expect, done.output
    assert SECRET not in done.output
    records = json.loads(done.stdout)
    assert all(record["remedy"] or record["outcome"] == "ok" for record in records)
    return {record["subject"]: record for record in records}


def the_problem(records: Records) -> dict[str, Any]:
    (problem,) = (record for record in records.values() if record["outcome"] == "problem")
    return problem


def copy_model(sample_model: Path, folder: Path) -> Path:
    shutil.copytree(sample_model, folder)
    return folder


def test_host_in_good_order_has_no_problem(host: Path, sample_corpus: Path) -> None:
    records = doctor("--input", sample_corpus / "manuals.parquet", expect=0)

    outcomes = {subject: record["outcome"] for subject, record in records.items()}
    assert {subject for subject, outcome in outcomes.items() if outcome != "ok"} <= {"GPU"}
    assert {"SGLang", "PyTorch", "model", "weights", "tokenizer", "corpus", "state folder",
            "Milvus", "lock"} <= set(outcomes)  # fmt: skip
    assert not (host / ".embed-index").exists()


def test_text_has_a_line_a_check_and_its_remedy_below(host: Path) -> None:
    done = CliRunner().invoke(cli, ["doctor", "--job", "job.toml", "--model", "./nowhere"])

    lines = done.stdout.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("problem  model"))
    assert lines[at].endswith(f"the folder '{host}/nowhere' does not exist")
    assert lines[at + 1].lstrip().startswith("Give a folder that holds config.json")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: a problem on this host: model\n")


@pytest.mark.parametrize("name", ["key", ".env"])
def test_secret_that_others_can_read_is_a_problem(host: Path, name: str) -> None:
    file = host / name
    file.write_text(f"EMBEDDING_API_KEY={SECRET}\n" if name == ".env" else f"{SECRET}\n")
    given = ("--key-file", name) if name == "key" else ()
    file.chmod(0o644)
    problem = the_problem(doctor(*given, expect=2))
    file.chmod(0o600)
    mended = doctor(*given, expect=0)

    assert problem["found"] == f"{file} is open to others (mode 0644)"
    assert f"chmod 600 {file}" in problem["remedy"]
    assert mended["key file" if name == "key" else ".env"]["outcome"] == "ok"


def test_env_file_without_a_secret_may_be_read_by_all(host: Path) -> None:
    (host / ".env").write_text("MILVUS_DB=\n")

    assert ".env" not in doctor(expect=0)


def test_secret_that_git_tracks_is_a_problem(host: Path) -> None:
    (host / "key").write_text(SECRET)
    (host / "key").chmod(0o600)
    for command in (["init", "-q"], ["add", "key"]):
        subprocess.run(["git", *command], cwd=host, check=True, timeout=30)
    problem = the_problem(doctor("--key-file", "key", expect=2))
    subprocess.run(["git", "rm", "-q", "--cached", "key"], cwd=host, check=True, timeout=30)

    assert "is tracked by git" in problem["found"]
    assert "git rm --cached" in problem["remedy"]
    assert doctor("--key-file", "key", expect=0)["key file"]["outcome"] == "ok"


def test_missing_key_file_is_a_problem(host: Path) -> None:
    problem = the_problem(doctor("--key-file", "nowhere", expect=2))

    assert problem["found"] == f"{host}/nowhere cannot be read: No such file or directory"


def test_key_file_that_holds_no_key_is_a_problem(host: Path) -> None:
    (host / "empty").touch(mode=0o600)
    (host / "folder").mkdir(mode=0o700)

    empty, folder = (
        the_problem(doctor("--key-file", name, expect=2)) for name in ("empty", "folder")
    )

    assert empty["found"] == f"{host}/empty is empty"
    assert folder["found"] == f"{host}/folder is no regular file"


@pytest.fixture
def sharded_model(sample_model: Path, tmp_path: Path) -> Path:
    """The sample model with its weights replaced by two shards and their index."""
    folder = copy_model(sample_model, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    shards = {f"model-0000{n}-of-00002.safetensors": f"tensor.{n}" for n in (1, 2)}
    for file, tensor in shards.items():
        save_file({tensor: np.zeros((8, 8), np.float32)}, folder / file)
    index = {"weight_map": {tensor: file for file, tensor in shards.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_missing_shard_is_a_problem(host: Path, sharded_model: Path) -> None:
    assert doctor("--model", sharded_model, expect=0)["weights"]["outcome"] == "ok"
    shard = sharded_model / "model-00002-of-00002.safetensors"
    shard.unlink()

    problem = the_problem(doctor("--model", sharded_model, expect=2))

    assert problem["found"] == f"{sharded_model} lacks 1 of 2 weight files ({shard.name})"
    assert "Download the model again" in problem["remedy"]


@pytest.mark.parametrize("num_bytes", [0, 4, 60, -1])
def test_shard_that_is_cut_off_is_a_problem(
    host: Path, sharded_model: Path, num_bytes: int
) -> None:
    shard = sharded_model / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:num_bytes])

    problem = the_problem(doctor("--model", sharded_model, expect=2))

    assert problem["found"] == f"{shard} is cut off, or no safetensors file"


def test_model_without_weights_is_a_problem(host: Path, sharded_model: Path) -> None:
    for file in sharded_model.glob("model*"):
        file.unlink()

    problem = the_problem(doctor("--model", sharded_model, expect=2))

    assert problem["found"] == f"{sharded_model} lacks weights (*.safetensors)"


def test_tokenizer_that_leaves_the_end_token_out_is_a_warning(
    host: Path, sample_model: Path
) -> None:
    folder = copy_model(sample_model, host / "model")
    definition = json.loads((folder / "tokenizer.json").read_bytes())
    definition["post_processor"] = definition["post_processor"]["processors"][0]
    (folder / "tokenizer.json").write_text(json.dumps(definition))

    tokenizer = doctor("--model", folder, expect=0)["tokenizer"]

    assert tokenizer["outcome"] == "warning"
    assert "does not append the end token" in tokenizer["found"]


def test_model_that_is_not_cached_is_a_warning_and_no_hub_is_asked(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        socket.socket, "connect", lambda *_: pytest.fail("the doctor opened a connection")
    )

    model = doctor("--model", "nobody/has-this-model", expect=0)["model"]

    assert model["outcome"] == "warning"
    assert "the first run downloads it" in model["found"]


def test_port_in_use_is_a_problem(host: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        problem = the_problem(doctor("--server-port", str(port), expect=2))

    assert problem["subject"] == "port"
    assert f"Port {port} on 127.0.0.1 cannot be used" in problem["found"]
    assert "free" in doctor("--server-port", str(port), expect=0)["port"]["found"]


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[HashEmbeddingServer]:
    with HashEmbeddingServer() as server:
        monkeypatch.setenv("EMBEDDING_API_BASE", server.url)
        yield server


def test_running_server_is_asked_with_its_key(
    host: Path, running: HashEmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = the_problem(doctor(expect=2))
    monkeypatch.setenv("EMBEDDING_API_KEY", SECRET)
    wrong = the_problem(doctor(expect=4))
    monkeypatch.setenv("EMBEDDING_API_KEY", running.key)
    right = doctor(expect=0)

    assert "its key is not known" in without["found"]
    assert "refuses the key" in wrong["found"]
    assert f"{WIDTH} dimensions; asks for its key" in right["server"]["found"]
    assert "GPU" not in right


def test_running_server_that_is_away_is_an_outage(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDDING_API_KEY", SECRET)

    problem = the_problem(doctor("--server-url", "http://127.0.0.1:9", expect=4))

    assert problem["found"].startswith("The embedding server at http://127.0.0.1:9 cannot be reach")


def test_running_server_that_others_keep_busy_is_no_problem(
    host: Path, running: HashEmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDDING_API_KEY", running.key)
    monkeypatch.setattr(server_checks, "_ANSWER_SECONDS", 0.5)

    with running.silent():
        server = doctor(expect=0)["server"]

    assert server["outcome"] == "warning"
    assert f"at {running.url} is busy: it answers, and embedded nothing" in server["found"]


def test_state_folder_that_cannot_be_made_is_a_problem(host: Path) -> None:
    (host / "taken").write_text("a file")

    problem = the_problem(doctor("--state-dir", "taken/state", expect=2))

    assert problem["found"] == f"{host}/taken/state cannot be made: {host}/taken is a file"


@pytest.mark.parametrize(
    ("free_bytes", "outcome"), [(100 << 30, "ok"), (5 << 30, "warning"), (1 << 20, "problem")]
)
def test_full_disk_is_told(
    host: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, outcome: str
) -> None:
    usage = shutil.disk_usage(host)._replace(free=free_bytes)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

    state = doctor(expect=2 if outcome == "problem" else 0)["state folder"]

    assert state["outcome"] == outcome


def test_small_shared_memory_is_a_warning(tmp_path: Path) -> None:
    check = place_checks.check_shared_memory(tmp_path / "not-mounted")

    assert (check.outcome, "--shm-size" in check.remedy) == ("warning", True)


def test_corpus_without_the_columns_is_a_problem(host: Path, sample_corpus: Path) -> None:
    problem = the_problem(doctor("--input", sample_corpus, "--text-column", "nothing", expect=2))

    assert problem["subject"] == "corpus"
    assert "has no column 'nothing'" in problem["found"]
    assert "Its columns are: " in problem["remedy"]


def test_dead_milvus_is_an_outage_and_its_token_is_not_shown(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", f"root:{SECRET}")

    problem = the_problem(doctor("--milvus-uri", "http://127.0.0.1:9", expect=4))

    assert problem["found"].startswith("Milvus at http://127.0.0.1:9 cannot be reached")
    assert problem["may_pass"] is True


def test_server_that_never_answers_for_milvus_is_given_up(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for patience in ("_CONNECT_SECONDS", "_CALL_SECONDS"):
        monkeypatch.setattr(f"embed_index.pipeline.host.milvus.{patience}", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        problem = the_problem(doctor("--milvus-uri", uri, expect=4))

    assert problem["subject"] == "Milvus"


def test_an_outage_beside_a_mistake_is_a_mistake(host: Path) -> None:
    records = doctor("--milvus-uri", "http://127.0.0.1:9", "--key-file", "nowhere", expect=2)

    assert [r["may_pass"] for r in records.values() if r["outcome"] == "problem"] == [False, True]


def test_milvus_lite_that_another_process_has_open_is_an_outage(host: Path) -> None:
    uri = str(host / "open.db")
    with open_store(uri):
        problem = the_problem(doctor("--milvus-uri", uri, expect=4))

    assert problem["found"] == f"Milvus Lite at {uri} is open in another process"


@pytest.mark.parametrize("exists", [False, True])
def test_a_text_search_that_milvus_lite_cannot_do_is_a_mistake(host: Path, exists: bool) -> None:
    uri = str(host / "words.db")
    if exists:
        open_store(uri).close()
    (host / "job.toml").write_text('[index]\ntext_search = true\ntext_analyzer = "english"\n')

    problem = the_problem(doctor("--job", "job.toml", "--milvus-uri", uri, expect=2))

    assert problem["found"].startswith("text_analyzer: Milvus Lite has no english")


@pytest.mark.milvus_server
def test_version_of_a_milvus_server_is_told(host: Path, milvus_server: MilvusServer) -> None:
    milvus = doctor("--milvus-uri", milvus_server.uri, expect=0)["Milvus"]

    assert "version v2.3.5" in milvus["found"] or "version 2.3.5" in milvus["found"]


def test_run_at_work_is_a_warning(host: Path) -> None:
    state = host / ".embed-index"
    settings = JobSettings(state_dir=state, milvus_uri=str(state / "milvus.db"))
    with RunLock(lock_path(settings, "articles")):
        lock = doctor(expect=0)["lock"]

    assert lock["outcome"] == "warning"
    assert lock["found"].startswith(f"a run works on articles: process {os.getpid()} on ")


@pytest.mark.parametrize(
    ("version", "outcome"),
    [("0.5.15", "warning"), ("0.5.16.post1", "ok"), ("0.5.23", "ok"), ("0.5.24", "warning")],
)
def test_sglang_outside_of_the_range_is_a_warning(
    host: Path, monkeypatch: pytest.MonkeyPatch, version: str, outcome: str
) -> None:
    packages = host / "packages" / f"sglang-{version}.dist-info"
    packages.mkdir(parents=True)
    (packages / "METADATA").write_text(f"Name: sglang\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(packages.parent))

    assert doctor(expect=0)["SGLang"]["outcome"] == outcome


def test_environment_without_server_packages_is_told_whole(
    host: Path, sample_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("importlib.metadata.version", missing)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())

    records = doctor(expect=2)

    problems = [s for s, record in records.items() if record["outcome"] == "problem"]
    assert problems == ["SGLang", "PyTorch", "CPU platform"]


H100 = Gpu(index=0, name="H100", compute_capability=(9, 0), memory_bytes=80 << 30, uuid="GPU-0")


def test_old_driver_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "visible_gpus", lambda: (H100,))
    monkeypatch.setattr(gpu_checks, "newest_cuda", lambda: (12, 4))
    monkeypatch.setattr(gpu_checks, "driver_version", lambda: "550.54.15")

    with pytest.raises(ConfigurationError, match=r"550\.54\.15 runs CUDA up to 12\.4") as error:
        gpu_checks.check_gpu()

    assert "580 or newer" in error.value.remedy


def test_gpu_without_a_driver_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")
    monkeypatch.setattr(gpu_checks, "_PCI_DEVICES", tmp_path)
    monkeypatch.setattr(gpu_checks, "visible_gpus", lambda: ())

    with pytest.raises(ConfigurationError, match="CUDA finds none"):
        gpu_checks.check_gpu()


@pytest.mark.parametrize(
    ("weight_gib", "free_gib", "outcome"), [(8, 79, "ok"), (8, 10, "warning"), (8, None, "ok")]
)
def test_gpu_memory_is_compared_with_the_model(
    monkeypatch: pytest.MonkeyPatch, weight_gib: int, free_gib: int | None, outcome: str
) -> None:
    free = None if free_gib is None else free_gib << 30
    monkeypatch.setattr(gpu_checks, "free_memory_bytes", lambda _: free)

    check = gpu_checks.check_gpu_memory([H100], weight_bytes=weight_gib << 30)

    assert check.outcome == outcome


def test_model_that_is_too_large_for_the_gpu_is_a_problem() -> None:
    with pytest.raises(ConfigurationError, match=r"GPU 0 has 80\.0 GiB"):
        gpu_checks.check_gpu_memory([H100], weight_bytes=70 << 30)


def test_what_we_may_not_look_at_is_a_problem_of_its_own() -> None:
    def look() -> HostCheck:
        raise PermissionError(13, "Permission denied", "/etc/embed-index/key")

    check = made(("key file", look))

    assert (check.outcome, check.found) == ("problem", "/etc/embed-index/key: Permission denied")
    assert "as the user that the job runs as" in check.remedy


def test_neither_torch_nor_sglang_is_imported(host: Path) -> None:
    script = (
        "import sys\nfrom embed_index.jobs.main import cli\n"
        "cli(['doctor', '--job', 'job.toml'], standalone_mode=False)\n"
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=host, capture_output=True, text=True, timeout=120
    )
    modules = set(done.stdout.rpartition("MODULES ")[2].split())

    assert "embed_index.jobs.examination.host" in modules
    assert not modules & {"torch", "sglang", "transformers"}


def test_a_precision_that_this_host_cannot_compute_in_is_a_problem(host: Path) -> None:
    problem = the_problem(doctor("--dtype", "fp8", expect=2))

    assert problem["subject"] == "precision"
    assert "no fewer than 16 bits" in problem["found"]
