"""`embed-index serve` with the real server: kept up, given another key, and ended."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from key_fixtures import keys
from serve_process import ServeProcess, wait_for

from embed_index.pipeline.server.process_group import living_members
from embed_index.pipeline.server.serving_record import find_serving


@pytest.fixture
def start(
    tmp_path: Path, sample_model: Path, key_file: Path
) -> Iterator[Callable[..., ServeProcess]]:
    """Starts a server with the key file, which is gone after the test."""
    made: list[ServeProcess] = []

    def make(*arguments: str) -> ServeProcess:
        arguments = ("--key-file", str(key_file), *arguments)
        made.append(ServeProcess(tmp_path, *arguments, model=sample_model))
        return made[-1]

    yield make
    for serve in made:
        with serve:
            pass


def rotate(key_file: Path, serve: ServeProcess, *more: str) -> Result:
    return keys("rotate", "--key-file", str(key_file), "--state-dir", str(serve.state), *more)


@pytest.mark.timeout(600)
def test_a_key_is_rotated_while_the_server_is_in_use(
    start: Callable[..., ServeProcess], key_file: Path
) -> None:
    serve = start("--grace-seconds", "240")
    serve.wait_ready()
    old, url, group = key_file.read_text().strip(), serve.record.url, serve.server_group()

    with ThreadPoolExecutor() as pool:
        in_flight = pool.submit(serve.embed, old, num_inputs=6, num_tokens=1000)
        wait_for(lambda: bool(in_flight.running()))
        rotated = rotate(key_file, serve, "--overlap-minutes", "0")
        answered = in_flight.result()

    new = key_file.read_text().strip()
    assert rotated.exit_code == 0, rotated.output + serve.said()
    assert rotated.stdout == f"{url} takes the new key in {key_file} and refuses the old one\n"
    assert answered.status_code == 200
    assert len(answered.json()["data"]) == 6
    assert new != old
    assert (serve.status(old), serve.status(new), serve.record.url) == (401, 200, url)
    assert serve.server_group() == group
    assert "takes two keys, one of them for a while" in serve.said()
    assert not [key for key in (old, new) if key in serve.said() + rotated.output]

    # The key opens the server before SGLang ends its own warm-up.
    wait_for(lambda: httpx.get(f"{url}/ready", timeout=60).status_code == httpx.codes.OK)
    verified = keys("verify", "--server-url", url, "--key-file", str(key_file))
    assert verified.exit_code == 0, verified.output
    assert "GET /health_generate  200" in verified.stdout

    destroyed = keys("destroy", "--key-file", str(key_file), "--state-dir", str(serve.state))
    assert f"the server at {url} STILL TAKES THE KEY" in destroyed.stdout

    assert len(living_members(group)) > 2
    assert serve.end() == 0
    assert living_members(group) == []
    assert find_serving(serve.state) is None


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_is_killed_or_hangs_is_replaced_with_the_same_port_and_key(
    start: Callable[..., ServeProcess], key_file: Path, number: signal.Signals
) -> None:
    serve = start("--request-timeout-seconds", "10", "--max-tokens", "512")
    serve.wait_ready()
    key, url = key_file.read_text().strip(), serve.record.url
    before = serve.server_group()

    for pid in living_members(before):
        os.kill(pid, number)
    serve.wait_ready(times=2)

    assert serve.record.url == url
    assert serve.embed(key).status_code == 200
    assert serve.server_group() != before
    assert living_members(before) == []
    assert "It is started again." in serve.said()
    assert serve.end(signal.SIGINT) == 0
