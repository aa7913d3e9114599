"""`status` and `history`: what the ledger and the lock say, and nothing created."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from job_fixtures import JobFolder

from embed_index.pipeline.disk.lock import RunLock, find_holder
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.ledger.runs import RunOrigin

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps. " * 9 for n in range(4)}

RUNS_UNTIL_TOLD = """
import sys
from pathlib import Path
from typing import Any
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.disk.lock import RunLock
lock, ledger, collection = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
with RunLock(lock), Ledger(ledger) as ledger:
    run = ledger.runs.start(f"{collection}_v1")
    print("running", flush=True)
    sys.stdin.read()
"""


class RunInAnotherProcess:
    """A run that is at work until it is killed."""

    def __init__(self, job: JobFolder) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNS_UNTIL_TOLD, str(job.lock), str(job.ledger), job.collection],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> int:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"running\n"
        return self.process.pid

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def status(job: JobFolder) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(job.on_ledger("status", "--json").stdout)
    return read


def test_history_tells_what_each_run_did_newest_first(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    lite_job.write(CORPUS | {"d0": CORPUS["d0"] + "A new end.", "d9": "New."})
    lite_job.run()
    (lite_job.folder / "corpus" / "b.parquet").write_text("no Parquet")
    lite_job.run(expect=2)
    lite_job.write({**CORPUS, "bad": None}, file="b.parquet")
    lite_job.run("--max-dead-letters", "0", expect=3)

    runs = lite_job.history()
    table = lite_job.on_ledger("history").stdout.splitlines()
    newest = lite_job.on_ledger("history", "--limit", "1").stdout.splitlines()

    names = ("outcome", "exit_code", "num_new", "num_changed", "num_unchanged")
    assert [tuple(run[name] for name in names) for run in runs] == [
        ("dead_letters", 3, 0, 0, 5),
        ("failed", 2, 0, 0, 0),
        ("done", 0, 1, 1, 3),
        ("done", 0, 4, 0, 0),
    ]
    assert runs[2]["num_tokens_saved"] > 0
    assert all(run["tokens_per_second"] >= 0 and run["seconds"] > 0 for run in runs)
    assert table[0].split() == [
        "started", "outcome", "new", "changed", "unchanged", "refreshed", "deleted", "tokens",
        "saved", "seconds", "expected", "tokens/s", "exit", "reason",
    ]  # fmt: skip
    assert table[1].endswith(f"  3  {runs[0]['error']}")
    assert "b.parquet is not a readable Parquet file" in table[2]
    at = table[0].index("reason")
    assert [line[at - 1 : at] for line in table[1:3]] == [" ", " "]
    assert [len(line) < at for line in table[3:]] == [True, True]
    assert len(table) == 5
    assert [line.split() for line in newest] == [line.split() for line in table[:2]]
    assert table[4].split()[2:8] == ["done", "4", "0", "0", "0", "0"]


def test_times_are_told_with_their_zone(
    lite_job: JobFolder, in_zone: Callable[[str], None]
) -> None:
    in_zone("Asia/Kathmandu")
    lite_job.write(CORPUS)
    lite_job.run()

    _, run = lite_job.on_ledger("history").stdout.splitlines()
    status = lite_job.on_ledger("status").stdout
    (record,) = lite_job.history()

    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+05:45"
    assert re.match(rf"{moment}  done ", run)
    assert re.search(rf"freshness +in step .* ago, at {moment} ", status)
    assert re.search(rf"last run +{moment}, done", status)
    # Programs are told in UTC.
    assert record["started_at"].endswith("+00:00")


def test_a_first_run_with_too_many_dead_letters_has_brought_the_rest_in_step(
    lite_job: JobFolder,
) -> None:
    lite_job.write({**CORPUS, "bad": None})
    lite_job.run(expect=3)

    text = lite_job.on_ledger("status").stdout

    assert re.search(r"freshness +in step .* ago, at .* but for 1 dead letter\n", text)
    assert status(lite_job)["fresh_seconds"] is None


def test_status_tells_last_run_freshness_and_counts(lite_job: JobFolder) -> None:
    lite_job.write({**CORPUS, "bad": None})
    lite_job.run("--max-dead-letters", "1")
    lite_job.run(expect=3)

    read = status(lite_job)
    text = lite_job.on_ledger("status").stdout

    assert read["running"] is None
    assert isinstance(read["fresh_seconds"], float)
    assert 0 < read["fresh_seconds"] < 300
    assert read["last_run"]["outcome"] == "dead_letters"
    assert read["last_success"]["outcome"] == "done"
    assert "1 dead letter of 5 rows" in read["last_run"]["error"]
    (version,) = read["versions"]
    assert version["name"] == f"{lite_job.collection}_v1"
    assert version["num_documents"] == 4
    assert version["num_chunks"] > 4
    assert version["num_dead_letters"] == 1
    assert ["running", "no"] in [line.split() for line in text.splitlines()]
    assert "dead_letters, exit code 3: 1 dead letter of 5 rows" in text


@pytest.mark.parametrize("is_first", [True, False])
def test_a_run_that_fails_before_its_first_document_is_the_last_one(
    lite_job: JobFolder, *, is_first: bool
) -> None:
    lite_job.write(CORPUS)
    if not is_first:
        lite_job.run()
    damaged = lite_job.folder / "corpus" / "damaged.parquet"
    damaged.write_bytes(b"PAR1")

    lite_job.run(expect=2)

    last = lite_job.history()[0]
    assert (last["outcome"], last["exit_code"]) == ("failed", 2)
    assert str(damaged) in last["error"]
    assert status(lite_job)["last_run"] == last
    assert str(damaged) in lite_job.on_ledger("status").stdout


def test_a_run_at_work_is_running_and_one_that_was_killed_has_died(lite_job: JobFolder) -> None:
    with RunInAnotherProcess(lite_job) as pid:
        during, runs_during = status(lite_job), lite_job.history()
        text = lite_job.on_ledger("status").stdout
    after, runs_after = status(lite_job), lite_job.history()

    assert during["running"]["pid"] == pid
    assert [run["outcome"] for run in runs_during] == ["running"]
    assert f"process {pid} on " in text
    assert "never brought in step here" in text
    assert after["running"] is None
    assert [run["outcome"] for run in runs_after] == ["died"]
    assert after["last_run"]["exit_code"] is None


def test_a_run_that_died_stays_so_after_the_next_one(lite_job: JobFolder) -> None:
    with RunInAnotherProcess(lite_job):
        pass
    lite_job.write(CORPUS)
    lite_job.run()

    assert [run["outcome"] for run in lite_job.history()] == ["done", "died"]


def test_a_lock_that_another_command_holds_does_not_revive_a_dead_run(
    lite_job: JobFolder,
) -> None:
    with Ledger(lite_job.ledger) as ledger:
        ledger.runs.start(f"{lite_job.collection}_v1", origin=RunOrigin.current())

    # The process has the dead one's id, as in a container that is started every night.
    with RunLock(lite_job.lock):
        read = status(lite_job)

    assert read["running"] is not None
    assert read["last_run"]["outcome"] == "died"


@pytest.mark.parametrize("command", ["status", "history"])
def test_without_a_ledger_nothing_is_shown_and_nothing_created(
    lite_job: JobFolder, tmp_path: Path, command: str
) -> None:
    done = lite_job.on_ledger(command, expect=2)

    assert done.stderr.startswith(f"error: no run of '{lite_job.collection}' has left a ledger in")
    assert not list(tmp_path.iterdir())


def test_who_asks_for_the_holder_does_not_get_in_its_way(tmp_path: Path) -> None:
    path = tmp_path / "docs.lock"
    nobody = find_holder(path)

    with RunLock(path):
        held = find_holder(path)
    released = find_holder(path)

    assert (nobody, released) == (None, None)
    assert held is not None
    assert tmp_path.exists()
    assert held.started_at
