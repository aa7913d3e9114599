"""Settings of a program: arguments before the environment, `.env` and the job file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from job_fixtures import JobFolder
from library_fixtures import DOCUMENTS

from embed_index import ConfigurationError, open_collection

HEAVY = ("torch", "sglang", "pymilvus", "pyarrow", "pydantic", "httpx", "numpy", "asyncio")
MAX_IMPORT_SECONDS = 0.2


def test_the_door_imports_nothing_heavy_and_quickly() -> None:
    program = (
        "import sys, time; began = time.process_time()\n"
        "from embed_index import open_collection, QueryError\n"
        "print(time.process_time() - began)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    seconds, heavy = done.stdout.splitlines()
    assert float(seconds) < MAX_IMPORT_SECONDS
    assert heavy == "[]"


def test_settings_come_from_arguments_environment_dotenv_and_job_file(
    library_job: JobFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.toml").write_text(
        f'[milvus]\nuri = "{library_job.uri}"\n[model]\nmodel = "{library_job.model}"\n'
    )
    (tmp_path / ".env").write_text(f"EMBEDDING_API_KEY={library_job.server.key}\n")
    monkeypatch.setenv("EMBEDDING_API_BASE", library_job.server.url)

    with open_collection(library_job.collection, job="job.toml") as collection:
        assert collection.search(DOCUMENTS["pump"], limit=1)[0].doc_id == "pump"
    with pytest.raises(ConfigurationError, match="there is no collection"):
        open_collection(library_job.collection, job="job.toml", milvus_uri="other.db")
    assert "EMBEDDING_API_KEY" not in os.environ


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"milvus_uri": "ftp://x"}, "milvus_uri = 'ftp://x' .argument milvus_uri."),
        ({"milvus_uri": "ftp://root:secret-word@x"}, "milvus_uri"),
        ({"request_timeout_seconds": -1}, "request_timeout_seconds"),
        ({"key": "two words"}, "server_key"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named_and_no_secret_shown(
    arguments: dict[str, object], message: str, tmp_path: Path
) -> None:
    given = {"milvus_uri": str(tmp_path / "x.db")} | arguments
    with pytest.raises(ConfigurationError, match=message) as raised:
        open_collection("articles", **given)  # type: ignore[arg-type]

    assert "secret-word" not in str(raised.value)
    assert "two words" not in str(raised.value)
