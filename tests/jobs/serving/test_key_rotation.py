"""Rotation where the server does not do its part, or the rotation itself is killed.

At every moment the server takes the key that is in its place.
"""

import asyncio
import itertools
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
from click.testing import Result
from impostor import embeds, impostor_on
from key_fixtures import keys
from pydantic import SecretStr
from serve_process import wait_for

from embed_index.jobs.serving import key_rotation
from embed_index.jobs.serving.key_places import KeyFile
from embed_index.pipeline.server.intrusion import takes_key
from embed_index.pipeline.server.rotation import read_rotation, write_rotation
from embed_index.pipeline.server.serving_record import (
    ServingRecord,
    find_serving,
    have_keys_read,
    recorded_serving,
)
from embed_index.schemas.errors import ConfigurationError, LockHeldError

StartServe = Callable[..., ForkProcess]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def start(state: Path, key_file: Path) -> Iterator[StartServe]:
    made: list[ForkProcess] = []

    def make(*behaviour: str, key: Path = key_file) -> ForkProcess:
        (state / "embedding-server.json").unlink(missing_ok=True)
        script = Path(__file__).parents[2] / "support" / "stubborn_serve.py"
        made.append(forked(run_script, str(script), str(state), str(key), *behaviour))
        wait_for(lambda: find_serving(state) is not None, seconds=60)
        return made[-1]

    yield make
    for process in made:
        process.kill()
        process.join()


def forked(target: Callable[..., None], *arguments: str) -> ForkProcess:
    """Run something in a process that has imported everything already."""
    process = get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


def run_script(*arguments: str) -> None:
    sys.argv = list(arguments)
    runpy.run_path(arguments[0])


def rotate(
    key_file: Path, state: Path, *more: str, seconds: float = 60, overlap: float = 0
) -> Result:
    return keys(
        *("rotate", "--key-file", str(key_file), "--state-dir", str(state)),
        *("--start-timeout-seconds", str(seconds), "--overlap-minutes", str(overlap / 60), *more),
    )


def taken(state: Path, *tried: str) -> list[bool | None]:
    """Whether the server that runs takes each of the keys."""
    serving = find_serving(state)
    assert serving is not None
    endpoints = [serving.endpoint(SecretStr(key.strip())) for key in tried]
    return [asyncio.run(takes_key(endpoint)) for endpoint in endpoints]


def num_hangups(state: Path) -> int:
    return len((state / "hangups").read_text())


@pytest.mark.parametrize("source", ["file", "systemd"])
def test_a_server_that_obeys_has_the_new_key_alone(
    start: StartServe, key_file: Path, state: Path, source: str
) -> None:
    process = start("obeys", source)
    old = key_file.read_text()

    result = rotate(key_file, state)

    assert result.exit_code == 0, result.output
    new = key_file.read_text()
    assert new != old
    assert taken(state, new, old) == [True, False]
    assert num_hangups(state) == 2
    assert process.is_alive()
    assert not (state / "key-rotation.json").exists()
    # What is read later must not bring the old one back, as a credential still has it.
    assert process.pid is not None
    os.kill(process.pid, signal.SIGHUP)
    wait_for(lambda: num_hangups(state) == 3, seconds=60)
    wait_for(lambda: taken(state, new, old) == [True, False], seconds=60)


def test_both_keys_are_taken_for_as_long_as_was_said(
    start: StartServe, key_file: Path, state: Path
) -> None:
    start("obeys")
    old = key_file.read_text()
    rotating = subprocess.Popen(command(key_file, state, overlap=2), stderr=subprocess.PIPE)
    assert rotating.stderr is not None
    said = rotating.stderr.readline().decode()
    both = taken(state, key_file.read_text(), old)

    assert f"the new key is in {key_file}; the server takes both until" in said
    assert both == [True, True]
    assert rotating.wait(timeout=60) == 0
    rotating.stderr.close()
    assert taken(state, key_file.read_text(), old) == [True, False]


def test_a_server_that_takes_no_other_key_keeps_the_old_one(
    start: StartServe, key_file: Path, state: Path
) -> None:
    start("ignores")
    old = key_file.read_text()

    result = rotate(key_file, state, seconds=1)

    assert result.exit_code == 4
    assert "did not change its key within 1 s" in result.stderr
    assert f"The old key stays in {key_file}" in result.stderr
    assert key_file.read_text() == old
    assert not (state / "key-rotation.json").exists()
    wait_for(lambda: num_hangups(state) == 2, seconds=60)


def test_a_server_that_does_not_let_go_of_the_old_key_is_noticed(
    start: StartServe, key_file: Path, state: Path
) -> None:
    start("takes-all")
    old = key_file.read_text()

    result = rotate(key_file, state, seconds=1)

    assert result.exit_code == 4
    assert "did not change its key within 1 s" in result.stderr
    assert f"The new key is in {key_file}" in result.stderr
    assert key_file.read_text() != old


def test_a_server_that_dies_of_it_is_noticed_at_once_and_the_old_key_stays(
    start: StartServe, key_file: Path, state: Path
) -> None:
    process = start("dies")
    old = key_file.read_text()

    result = rotate(key_file, state)

    assert result.exit_code == 4
    assert "ended instead of changing its key" in result.stderr
    assert f"The old key stays in {key_file}" in result.stderr
    assert key_file.read_text() == old
    process.join(60)
    assert process.exitcode == 4


def command(key_file: Path, state: Path, *, overlap: float = 60) -> list[str]:
    return [
        *(sys.executable, "-m", "embed_index.jobs.main", "keys", "rotate"),
        *("--key-file", str(key_file), "--state-dir", str(state)),
        *("--overlap-minutes", str(overlap / 60)),
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_rotation_that_is_interrupted_before_both_are_taken_leaves_the_old_key(
    start: StartServe, key_file: Path, state: Path, number: signal.Signals
) -> None:
    start("ignores")
    old = key_file.read_text()
    rotating = subprocess.Popen(command(key_file, state), stderr=subprocess.PIPE, text=True)
    wait_for((state / "hangups").exists, seconds=60)

    rotating.send_signal(number)
    rotating.send_signal(number)
    _, said = rotating.communicate(timeout=60)

    assert rotating.returncode == 130
    assert f"The old key stays in {key_file}" in said
    assert key_file.read_text() == old
    assert not (state / "key-rotation.json").exists()


def test_a_rotation_that_is_interrupted_while_both_are_taken_is_finished_by_hand(
    start: StartServe, key_file: Path, state: Path
) -> None:
    start("obeys")
    old = key_file.read_text()
    rotating = subprocess.Popen(command(key_file, state), stderr=subprocess.PIPE, text=True)
    assert rotating.stderr is not None
    rotating.stderr.readline()

    at_once = [rotate(key_file, state, *more) for more in ((), ("--finish",))]
    rotating.send_signal(signal.SIGINT)
    _, said = rotating.communicate(timeout=60)
    new = key_file.read_text()
    both = taken(state, new, old)
    another = rotate(key_file, state)
    finished = rotate(key_file, state, "--finish")
    nothing_left = rotate(key_file, state, "--finish")

    assert rotating.returncode == 130
    assert f"The new key is in {key_file}. The old one ends by itself" in said
    for refused in at_once:
        assert refused.exit_code == 5
        assert "Another `embed-index keys rotate` changes the key" in refused.stderr
        assert f"process {rotating.pid}" in refused.stderr
    assert both == [True, True]
    assert another.exit_code == 5
    assert "its old key is taken until" in another.stderr
    assert finished.exit_code == 0, finished.output
    assert f"takes the key in {key_file} and refuses the other one" in finished.stdout
    assert taken(state, new, old) == [True, False]
    assert nothing_left.exit_code == 2
    assert "no rotation of the key" in nothing_left.stderr


def test_a_folder_that_takes_no_new_key_leaves_the_old_one(
    start: StartServe, key_file: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("obeys")
    old = key_file.read_text()

    def is_full(*_: object) -> None:
        raise ConfigurationError("no space left")

    monkeypatch.setattr(KeyFile, "replace", is_full)
    result = rotate(key_file, state)

    assert result.exit_code == 2
    assert "no space left" in result.stderr
    assert f"The old key stays in {key_file}" in result.stderr
    assert key_file.read_text() == old
    assert taken(state, old) == [True]


# --- killed -----------------------------------------------------------------------------------


def rotate_until_killed(step: str, count: str, moment: str, *arguments: str) -> None:
    """Rotate, and die before or after one of the steps."""
    home = KeyFile if step == "replace" else key_rotation
    really, calls = getattr(home, step), itertools.count(1)

    def call(*given: object) -> None:
        is_it = next(calls) == int(count)
        if is_it and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        really(*given)
        if is_it and moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(home, step, call)
    keys(*arguments)


KILL_POINTS = [
    ("write_rotation", 1, "before", "old"),
    ("write_rotation", 1, "after", "old"),
    ("have_keys_read", 1, "after", "old"),
    ("replace", 1, "before", "old"),
    ("replace", 1, "after", "new"),
    ("write_rotation", 2, "after", "new"),
    ("have_keys_read", 2, "after", "new"),
]


@pytest.mark.parametrize(
    ("falls", "source"),
    [
        ("rotation", "file"),
        pytest.param("power", "file", marks=pytest.mark.slow),
        pytest.param("rotation", "systemd", marks=pytest.mark.slow),
        pytest.param("power", "systemd", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(("step", "count", "moment", "stays"), KILL_POINTS)
def test_a_rotation_that_is_killed_breaks_nothing_and_ends_by_itself(
    start: StartServe,
    key_file: Path,
    state: Path,
    step: str,
    count: int,
    moment: str,
    stays: str,
    falls: str,
    source: str,
) -> None:
    """The key in its place is taken at once, and alone soon; the next rotation succeeds."""
    serving = start("obeys", source)
    old = key_file.read_text()

    killed = forked(
        rotate_until_killed,
        *(step, str(count), moment),
        *("rotate", "--key-file", str(key_file), "--state-dir", str(state)),
    )
    killed.join(60)
    in_place = key_file.read_text()
    if falls == "power":
        serving.kill()
        serving.join()
        serving = start("obeys", source)

    assert killed.exitcode == -signal.SIGKILL
    assert (in_place == old) is (stays == "old")
    assert taken(state, in_place) == [True]
    let_it_end(state, is_told=(step, count) != ("write_rotation", 1) or falls == "power")
    serving = as_systemd_would(serving, start, source)
    known = [True] if in_place == old else [True, False]
    assert taken(state, *([in_place, old][: len(known)])) == known
    again = rotate(key_file, state)
    assert again.exit_code == 0, again.output
    assert taken(state, key_file.read_text(), in_place) == [True, False]


def as_systemd_would(serving: ForkProcess, start: StartServe, source: str) -> ForkProcess:
    """Start a service again that has ended because its credential may be the old key."""
    if source == "systemd":
        # A moment after it put the rotation away.
        serving.join(3)
    if serving.is_alive():
        return serving
    assert source == "systemd"
    return start("obeys", source)


def let_it_end(state: Path, *, is_told: bool) -> None:
    """Let the time be over that a rotation said; a server that knows of it reads its keys."""
    rotation = read_rotation(state)
    if rotation is None:
        return
    write_rotation(state, replace(rotation, until=0.0))
    serving = find_serving(state)
    if is_told and serving is not None:
        have_keys_read(serving)
        wait_for(lambda: read_rotation(state) is None, seconds=60)


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
        process.join()

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
    process.join()

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
