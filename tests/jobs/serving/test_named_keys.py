"""Keys with names: given, shown, and taken away, with a server that runs and without."""

import asyncio
import os
import re
import signal
import stat
from pathlib import Path

import pytest
from click.testing import Result
from key_fixtures import keys
from pydantic import SecretStr

from embed_index.jobs.serving import named_keys as jobs
from embed_index.jobs.serving.served_keys import ServedKeys
from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.secrecy.named_keys import MAX_NAMES, read_named_keys
from embed_index.pipeline.server.serving_record import ServingRecord, recorded_serving
from embed_index.schemas.errors import ConfigurationError

LINE = re.compile(r"website: ei-[A-Za-z0-9_-]{43} query-only 600/min\n")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def run(state: Path, command: str, *arguments: str) -> Result:
    return keys(command, *arguments, "--state-dir", str(state))


def write(state: Path, text: str) -> Path:
    path = state / "named-keys"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_key_is_added_to_a_file_for_its_owner_alone_and_not_printed(state: Path) -> None:
    first = run(state, "add", "website", "--query-only", "--per-minute", "600")
    second = run(state, "add", "alice")
    listed = run(state, "list")

    path = state / "named-keys"
    website, alice = path.read_text().splitlines(keepends=True)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert LINE.fullmatch(website)
    assert re.fullmatch(r"alice: ei-\S{43}\n", alice)
    assert first.stdout == f"the key of website is in {path}\n"
    assert listed.stdout == "website  query-only 600/min\nalice    everything\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "ei-" not in first.output + second.output + listed.output


def test_a_key_is_removed_and_other_lines_stay(state: Path) -> None:
    path = write(state, "# ours\nalice: ei-0123456789abcdef\n\nbob: ei-fedcba9876543210 5/min")

    removed = run(state, "remove", "alice")
    added = run(state, "add", "carol")

    assert removed.stdout == f"the key of alice is gone from {path}\n"
    assert added.exit_code == 0
    start = "# ours\n\nbob: ei-fedcba9876543210 5/min\ncarol: ei-"
    assert path.read_text().startswith(start)


def test_nobody_has_a_key_at_first(state: Path) -> None:
    assert run(state, "list").stdout == "no key has a name here\n"
    assert "has no key for that name" in run(state, "remove", "alice").stderr


@pytest.mark.parametrize(
    "name", ["", "Alice", "a b", "ei-0123456789", "a" * 33, "a\nb", "(key)", "-", "a:b"]
)
def test_a_name_is_one_word_and_no_key(state: Path, name: str) -> None:
    result = keys("add", "--state-dir", str(state), "--", name)

    assert result.exit_code == 2
    assert not (state / "named-keys").exists()
    assert "ei-0123456789" not in result.output


def test_a_name_is_given_once(state: Path) -> None:
    run(state, "add", "alice")
    before = (state / "named-keys").read_text()

    assert "has a key for alice already" in run(state, "add", "alice").stderr
    assert (state / "named-keys").read_text() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alice ei-0123456789abcdef", "line 1 is not `name: key`"),
        ("\nalice: short", "line 2 is not `name: key`"),
        ("alice:", "line 1 is not `name: key`"),
        ("alice: ei-0123456789abcdef all", "line 1: after the key may stand"),
        ("alice: ei-0123456789abcdef 5/min 6/min", "line 1: after the key may stand"),
        ("alice: ei-0123456789abcdef 0/min", "line 1: after the key may stand"),
        ("alice: ei-0123456789abcdef\nalice: ei-fedcba9876543210", "has the name alice twice"),
        ("alice: ei-0123456789abcdef\nbob: ei-0123456789abcdef", "has one key under two names"),
        (
            "".join(f"n{n}: ei-0123456789{n:06}\n" for n in range(MAX_NAMES + 1)),
            f"has {MAX_NAMES + 1} keys",
        ),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_without_its_keys(
    state: Path, text: str, words: str
) -> None:
    path = write(state, text)

    with pytest.raises(ConfigurationError) as refused:
        read_named_keys(path)

    assert words in str(refused.value)
    assert "ei-0" not in str(refused.value)


def test_a_file_that_others_may_read_is_refused(state: Path) -> None:
    write(state, "alice: ei-0123456789abcdef\n").chmod(0o640)

    assert "is open to others (mode 0640)" in run(state, "list").stderr


def test_two_changes_at_once_do_not_undo_each_other(state: Path) -> None:
    with RunLock(state / "named-keys.lock"):
        result = run(state, "add", "alice")

    assert result.exit_code == 5
    assert "Another `embed-index keys` command changes the named keys" in result.stderr


def test_a_server_is_given_names_scopes_and_rates(state: Path) -> None:
    write(state, "alice: ei-0123456789abcdef query-only 5/min\n")

    taken = ServedKeys(state, read_key=lambda: SecretStr("ei-main")).read()

    assert [(key.name, key.query_only, key.per_minute) for key in taken.keyring.hashed] == [
        ("alice", True, 5),
        ("(key)", False, None),
    ]
    assert taken.in_words() == "one key and 1 with a name"
    assert "ei-0123456789abcdef" not in repr(taken)


@pytest.mark.parametrize(("answer", "word"), [(None, "does not answer"), (True, "STILL TAKES IT")])
def test_a_key_that_a_server_still_takes_is_not_called_gone(
    state: Path, monkeypatch: pytest.MonkeyPatch, answer: bool | None, word: str
) -> None:
    async def takes(_: object) -> bool | None:
        await asyncio.sleep(0)
        return answer

    write(state, "alice: ei-0123456789abcdef\n")
    monkeypatch.setattr(jobs, "takes_key", takes)
    monkeypatch.setattr(jobs, "_PATIENCE_SECONDS", 0.2)
    received = []
    before = signal.signal(signal.SIGHUP, lambda *_: received.append(os.getpid()))
    record = ServingRecord.of_this_process(
        url="http://127.0.0.1:1", key_file=None, key_from_systemd=False
    )
    try:
        with recorded_serving(state, record):
            result = run(state, "remove", "alice")
    finally:
        signal.signal(signal.SIGHUP, before)

    assert result.exit_code == 4
    assert f"gone from the file, and the server at http://127.0.0.1:1 {word}." in result.stderr
    assert received == [os.getpid()]
