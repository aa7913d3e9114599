"""A busy team's key is changed: no request fails, the old key is dead, no key is left behind."""

import contextlib
import itertools
import json
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil
import pytest
from key_fixtures import keys
from serve_process import ServeProcess, wait_for
from sglang_fixtures import light_environment

from embed_index.pipeline.secrecy.named_keys import read_named_keys

NUM_CLIENTS = 4
NUM_REQUESTS = 1_000
OVERLAP_SECONDS = 2


@dataclass(slots=True)
class Team:
    """Clients that ask without a pause; each reads the key again only now and then."""

    url: str
    key_file: Path
    read_every: int
    statuses: list[int] = field(default_factory=list)
    keys_used: set[str] = field(default_factory=set)
    is_over: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        # A client that costs little: it shares its processors with the server.
        with contextlib.closing(HTTPConnection(self.url.removeprefix("http://"))) as http:
            for number in itertools.count():
                if number % self.read_every == 0:
                    key = self.key_file.read_text().strip()
                    self.keys_used.add(key)
                self.statuses.append(ask_once(http, key))
                if self.is_over.is_set():
                    return


def ask_once(http: HTTPConnection, key: str) -> int:
    """Return the status; 0 where there is no answer."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        http.request("POST", "/v1/embeddings", b'{"input": [[5]], "model": "m"}', headers)
        response = http.getresponse()
        response.read()
    except (OSError, HTTPException):
        http.close()
        return 0
    return response.status


@contextlib.contextmanager
def serving(
    folder: Path, model: Path, key_file: Path, environ: Mapping[str, str]
) -> Iterator[ServeProcess]:
    arguments = ("--key-file", str(key_file), "--max-tokens", "512")
    with ServeProcess(folder, *arguments, model=model, environ=environ) as serve:
        serve.wait_ready()
        yield serve
        assert serve.end() == 0


def leaks(folder: Path, *, but: set[Path], secrets: set[str]) -> list[str]:
    """Where a key shows: in files, and in arguments and environments of processes."""
    files = [path for path in folder.rglob("*") if path.is_file() and path not in but]
    for process in psutil.process_iter():
        if process.pid != os.getpid():
            files += [Path(f"/proc/{process.pid}/{name}") for name in ("cmdline", "environ")]
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            content = file.read_bytes()
            found += [str(file) for secret in secrets if secret.encode() in content]
    return found


@pytest.mark.parametrize(
    "engine",
    ["light", pytest.param("sglang", marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_no_request_of_a_thousand_fails_while_the_key_is_rotated(
    tmp_path: Path, sample_model: Path, key_file: Path, engine: str
) -> None:
    environ = light_environment() if engine == "light" else os.environ
    with serving(tmp_path, sample_model, key_file, environ) as serve:
        old, group = key_file.read_text().strip(), serve.server_group()
        state = ("--state-dir", str(serve.state))
        assert keys("add", "alice", "--query-only", "--per-minute", "1", *state).exit_code == 0
        team = Team(serve.record.url, key_file, read_every=40 if engine == "light" else 10)
        with ThreadPoolExecutor(NUM_CLIENTS) as pool:
            asking = [pool.submit(team.ask) for _ in range(NUM_CLIENTS)]
            wait_for(lambda: len(team.statuses) > NUM_REQUESTS / 10)
            rotated = keys(
                *("rotate", "--key-file", str(key_file), *state),
                *("--overlap-minutes", str(OVERLAP_SECONDS / 60)),
            )
            wait_for(lambda: len(team.statuses) >= NUM_REQUESTS)
            team.is_over.set()
            for client in asking:
                client.result()

        new = key_file.read_text().strip()
        named = serve.state / "named-keys"
        alice = read_named_keys(named)[0].key.get_secret_value()
        assert rotated.exit_code == 0, rotated.output + serve.said()
        assert {status: team.statuses.count(status) for status in set(team.statuses)} == {
            200: len(team.statuses)
        }
        assert team.keys_used == {old, new}
        assert (serve.status(old), serve.status(new)) == (401, 200)
        assert [serve.status(alice), serve.embed(alice).status_code] == [429, 429]
        assert keys("remove", "alice", *state).exit_code == 0
        assert serve.status(alice) == 401
        assert serve.server_group() == group
        assert leaks(tmp_path, but={key_file, named}, secrets={old, new, alice}) == []
    log = serve.state / "logs" / "access.log"
    names = {json.loads(line)["name"] for line in log.read_text().splitlines()}
    assert {"(key)", "alice", "-"} <= names
    # Whether anybody still asked with the old key once there was a new one is chance.
    assert names & {"(new key)", "(old key)"}
    assert not [key for key in (old, new, alice) if key in serve.said() + rotated.output]
