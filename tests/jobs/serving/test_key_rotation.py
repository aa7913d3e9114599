"""Rotation where the server does not do its part: the old key comes back, and it says so."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from impostor import embeds, impostor_on
from key_fixtures import keys
from pydantic import SecretStr
from serve_process import wait_for

from embed_index.jobs.serving.key_places import KeyFile
from embed_index.pipeline.server.serving_record import ServingRecord, find_serving, recorded_serving
from embed_index.schemas.errors import ConfigurationError, LockHeldError

StartServe = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def start(state: Path, key_file: Path) -> Iterator[StartServe]:
    made: list[subprocess.Popen[str]] = []

    def make(*behaviour: str, key: Path = key_file) -> "subprocess.Popen[str]":
        script = Path(__file__).parents[2] / "support" / "stubborn_serve.py"
        process = subprocess.Popen(
            [sys.executable, str(script), str(state), str(key), *behaviour],
            stdout=subprocess.PIPE,
            text=True,
        )
        made.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield make
    for process in made:
        process.kill()
        process.communicate()


def rotate(key_file: Path, state: Path, *, seconds: float = 60) -> Result:
    return keys(
        *("rotate", "--key-file", str(key_file), "--state-dir", str(state)),
        *("--start-timeout-seconds", str(seconds)),
    )


def num_hangups(state: Path) -> int:
    return len((state / "hangups").read_text())


def test_a_server_that_obeys_has_the_new_key_alone(
    start: StartServe, key_file: Path, state: Path
) -> None:
    start("obeys")
    old = key_file.read_text()

    result = rotate(key_file, state)

    assert result.exit_code == 0, result.output
    assert key_file.read_text() != old
    assert num_hangups(state) == 1


@pytest.mark.parametrize("behaviour", ["ignores", "takes-both"])
def test_a_server_that_does_not_change_its_key_gets_the_old_one_back(
    start: StartServe, key_file: Path, state: Path, behaviour: str
) -> None:
    start(behaviour)
    old = key_file.read_text()

    result = rotate(key_file, state, seconds=1)

    assert result.exit_code == 4
    assert "did not come back with the new key within 1 s" in result.stderr
    assert f"old key is back in {key_file}, and the server was told to take it" in result.stderr
    assert key_file.read_text() == old
    wait_for(lambda: num_hangups(state) == 2, seconds=60)


def test_a_server_that_dies_of_it_is_noticed_at_once_and_the_old_key_comes_back(
    start: StartServe, key_file: Path, state: Path
) -> None:
    process = start("dies")
    old = key_file.read_text()

    result = rotate(key_file, state)

    assert result.exit_code == 4
    assert "ended instead of coming back" in result.stderr
    assert f"The old key is back in {key_file}.\n" in result.stderr
    assert key_file.read_text() == old
    assert process.wait(timeout=60) == 4


SLOW_GIT = "#!/bin/sh\necho >> $GIT_CALLS\nsleep 0.2\nexit 128\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_rotation_puts_the_old_key_back_however_often_it_is_interrupted(
    start: StartServe, key_file: Path, state: Path, tmp_path: Path, number: int, times: int
) -> None:
    start("ignores")
    old = key_file.read_text()
    # Slow, so that the second signal comes while the old key is being put back.
    git, calls = tmp_path / "bin" / "git", tmp_path / "calls"
    git.parent.mkdir()
    git.write_text(SLOW_GIT)
    git.chmod(0o755)
    calls.touch()
    rotating = subprocess.Popen(
        [
            *(sys.executable, "-m", "embed_index.jobs.main", "keys", "rotate"),
            *("--key-file", str(key_file), "--state-dir", str(state)),
        ],
        env=os.environ | {"PATH": f"{git.parent}:{os.environ['PATH']}", "GIT_CALLS": str(calls)},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for((state / "hangups").exists, seconds=60)
    num_calls = len(calls.read_text())

    rotating.send_signal(number)
    if times == 2:
        wait_for(lambda: len(calls.read_text()) > num_calls, seconds=60)
        rotating.send_signal(number)
    _, said = rotating.communicate(timeout=60)

    assert rotating.returncode == 130
    assert f"old key is back in {key_file}, and the server was told to take it" in said
    assert key_file.read_text() == old


def test_a_folder_that_takes_no_old_key_any_more_is_named(
    start: StartServe, key_file: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("ignores")
    old, really_replace = key_file.read_text(), KeyFile.replace

    def replace_once(place: KeyFile, key: SecretStr) -> None:
        if key.get_secret_value() == old.strip():
            raise ConfigurationError("no space left")
        really_replace(place, key)

    monkeypatch.setattr(KeyFile, "replace", replace_once)
    result = rotate(key_file, state, seconds=1)

    assert result.exit_code == 4
    assert f"The new key stays in {key_file}: no space left." in result.stderr
    assert key_file.read_text() != old


def test_a_credential_of_systemd_may_live_in_any_file(
    start: StartServe, key_file: Path, state: Path
) -> None:
    start("obeys", "systemd")

    assert rotate(key_file, state).exit_code == 0


def test_a_server_with_its_key_from_a_variable_is_left_alone(
    start: StartServe, key_file: Path, state: Path
) -> None:
    start("obeys", "variable")
    old = key_file.read_text()

    result = rotate(key_file, state)

    assert result.exit_code == 2
    assert "has its key from its environment" in result.stderr
    assert key_file.read_text() == old
    assert not (state / "hangups").exists()


def test_a_server_that_reads_another_file_is_left_alone(
    start: StartServe, key_file: Path, state: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert keys("generate", "--key-file", str(other)).exit_code == 0
    start("obeys", key=other)

    result = rotate(key_file, state)

    assert result.exit_code == 2
    assert f"reads its key from {other}, not from {key_file}" in result.stderr


def test_a_key_that_the_server_does_not_take_is_not_rotated(
    start: StartServe, key_file: Path, state: Path
) -> None:
    serving = start("obeys")
    key_file.write_text("ei-another\n")

    result = rotate(key_file, state)

    assert result.exit_code == 4
    assert f"does not take the key in {key_file}" in result.stderr
    assert f"kill -HUP {serving.pid}" in result.stderr
    assert key_file.read_text() == "ei-another\n"


def test_a_server_that_is_still_starting_is_waited_for_before_a_rotation(
    key_file: Path, state: Path
) -> None:
    with recorded_serving(state, replace(RECORD, key_file=str(key_file))):
        result = rotate(key_file, state)

    assert result.exit_code == 4
    assert f"The server at {RECORD.url} does not answer." in result.stderr
    assert "Wait until it is ready" in result.stderr


def test_without_a_running_server_nothing_is_rotated(key_file: Path, state: Path) -> None:
    old = key_file.read_text()

    result = rotate(key_file, state)

    assert result.exit_code == 4
    assert f"No embed-index serve runs from the state folder {state}" in result.stderr
    assert key_file.read_text() == old


@pytest.mark.parametrize(
    ("behaviour", "words"), [("obeys", "STILL TAKES THE KEY"), ("dies", "no running server")]
)
def test_destroying_a_key_says_whether_a_server_still_takes_it(
    start: StartServe, key_file: Path, state: Path, behaviour: str, words: str
) -> None:
    process = start(behaviour)
    if behaviour == "dies":
        process.kill()
        process.wait()

    result = keys("destroy", "--key-file", str(key_file), "--state-dir", str(state))

    assert result.exit_code == 0
    assert words in result.stdout


@pytest.mark.parametrize("command", ["rotate", "destroy"])
async def test_an_impostor_on_the_port_of_a_server_that_restarts_is_not_told_its_key(
    key_file: Path, state: Path, command: str
) -> None:
    key = (await asyncio.to_thread(key_file.read_text)).strip()
    async with impostor_on(0, embeds) as impostor:
        url = f"http://127.0.0.1:{impostor.port}"
        with recorded_serving(state, replace(RECORD, url=url, key_file=str(key_file))):
            arguments = (command, "--key-file", str(key_file), "--state-dir", str(state))
            result = await asyncio.to_thread(keys, *arguments)

    assert "does not answer" in result.output
    assert impostor.num_requests > 0
    assert not impostor.was_told(key)


# --- the record -------------------------------------------------------------------------------

RECORD = ServingRecord.of_this_process(
    url="http://127.0.0.1:1", key_file=None, key_from_systemd=False
)


def test_a_record_is_found_while_its_process_serves(tmp_path: Path) -> None:
    with recorded_serving(tmp_path, RECORD):
        assert find_serving(tmp_path) == RECORD
        assert RECORD.pid == os.getpid()

    assert find_serving(tmp_path) is None


def test_what_a_killed_server_left_is_no_record(start: StartServe, state: Path) -> None:
    process = start("obeys")
    process.kill()
    process.wait()

    assert (state / "embedding-server.json").exists()
    assert find_serving(state) is None


def test_only_one_server_runs_from_a_state_folder(start: StartServe, state: Path) -> None:
    process = start("obeys")

    with (
        pytest.raises(
            LockHeldError, match=f"from this state folder already: process {process.pid}"
        ),
        recorded_serving(state, RECORD),
    ):
        pass
