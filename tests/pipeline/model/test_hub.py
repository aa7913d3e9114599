"""Models by hub id: against a hub on loopback, and with ModelScope's downloader replaced."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from embed_index.pipeline.model.files import find_model
from embed_index.schemas.errors import ConfigurationError

COMMIT = "a" * 40
FIND = """
import sys, time
from embed_index.pipeline.model.files import find_model
from embed_index.schemas.errors import EmbedIndexError
# The hub's library waits 23 s between its attempts at a hub that does not answer.
time.sleep = lambda _: None
try:
    model = find_model(sys.argv[1], revision=sys.argv[2] or None)
    print(model.name, model.location, model.revision, model.hub_revision, model.width)
except EmbedIndexError as error:
    print(type(error).__name__, error.message)
"""


@pytest.fixture
def hub(sample_model: Path) -> Iterator[str]:
    """Serve the sample model as `someone/lexical`, the way the Hugging Face hub does."""

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            owner, name, *_, revision, file = self.path.strip("/").split("/")
            known = (owner, name) == ("someone", "lexical") and revision in {"main", COMMIT}
            content = (sample_model / file).read_bytes() if known else b"{}"
            self.send_response(200 if known else 404)
            if known:
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{file}"')
            else:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def find(endpoint: str, home: Path, model: str, revision: str = "") -> str:
    """Ask in a process of its own, because the hub's library reads its address on import."""
    done = subprocess.run(
        [sys.executable, "-c", FIND, model, revision],
        env=os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.strip() or done.stderr


def test_a_hub_id_is_pinned_to_the_commit_that_its_files_came_from(
    hub: str, tmp_path: Path
) -> None:
    found = find(hub, tmp_path, "someone/lexical")

    assert found == f"someone/lexical someone/lexical {COMMIT} {COMMIT} 512"


@pytest.mark.parametrize(("model", "revision"), [("nobody/nothing", ""), ("someone/lexical", "v9")])
def test_a_model_that_the_hub_does_not_have_is_named(
    hub: str, tmp_path: Path, model: str, revision: str
) -> None:
    found = find(hub, tmp_path, model, revision)

    assert found.startswith("ConfigurationError")
    assert model in found


def test_a_hub_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    found = find("http://127.0.0.1:1", tmp_path, "someone/lexical")

    assert found.startswith("UnavailableError")
    assert "someone/lexical" in found


def test_a_modelscope_model_is_downloaded_whole_and_served_from_its_folder(
    sample_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(model: str, *, revision: str | None) -> str:
        asked.append((model, revision))
        return str(sample_model)

    module = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "modelscope", module)
    model = find_model("Qwen/Qwen3-Embedding-0.6B", source="modelscope", revision="v1")

    assert asked == [("Qwen/Qwen3-Embedding-0.6B", "v1")]
    assert (model.name, model.location) == ("Qwen/Qwen3-Embedding-0.6B", str(sample_model))
    assert model.revision == find_model(str(sample_model)).revision


def test_without_modelscope_the_remedy_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modelscope", None)

    with pytest.raises(ConfigurationError, match="modelscope is not installed"):
        find_model("Qwen/Qwen3-Embedding-0.6B", source="modelscope")
