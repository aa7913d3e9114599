"""Who asked, written down: without what was asked, for the owner alone, within bounds."""

import json
import stat
from datetime import datetime
from pathlib import Path

from embed_index.pipeline.server.access_log import AccessLog


def test_an_entry_says_who_when_how_and_how_much(tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    AccessLog(log).write(name="alice", status=200, tokens=17)
    AccessLog(log).write(name="-", status=401, tokens=None)

    first, second = map(json.loads, log.read_text().splitlines())
    assert datetime.fromisoformat(first.pop("time")).tzinfo is not None
    assert first == {"name": "alice", "status": 200, "tokens": 17}
    assert (second["name"], second["status"], second["tokens"]) == ("-", 401, None)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_files_are_bounded_in_size_and_number_and_the_newest_stay(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.log", max_bytes=1_000, num_kept=2)

    for number in range(100):
        log.write(name="alice", status=200, tokens=number)

    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["access.log", "access.log.1", "access.log.2"]
    assert all(file.stat().st_size < 1_200 for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    lines = "".join(file.read_text() for file in reversed(files)).splitlines()
    tokens = [json.loads(line)["tokens"] for line in lines]
    assert tokens == list(range(100 - len(lines), 100))


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    AccessLog(tmp_path / "nowhere" / "access.log").write(name="alice", status=200, tokens=1)

    assert list(tmp_path.iterdir()) == []


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "access.log").symlink_to(tmp_path / "other")

    AccessLog(tmp_path / "access.log").write(name="alice", status=200, tokens=1)

    assert not (tmp_path / "other").exists()
