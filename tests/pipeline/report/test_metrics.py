"""The Prometheus text file that each run leaves behind."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from job_fixtures import JobFolder
from prometheus_client.parser import text_string_to_metric_families

from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.report.metrics import RunMetrics, render_metrics
from embed_index.pipeline.report.placing import READABLE_BY_ALL, put_in_place
from embed_index.schemas.errors import UnavailableError
from embed_index.schemas.summary import RunCounters

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps. " * 9 for n in range(4)}
METRICS = RunMetrics(
    collection="docs",
    milvus="milvus:19530/default",
    finished_at=datetime(2026, 1, 2, tzinfo=UTC),
    last_success_at=None,
    exit_code=4,
    counters=RunCounters(num_new=3, num_tokens=1_000_000_007, seconds=2.5),
    num_documents=7,
    num_chunks=9,
    num_open_dead_letters=1,
)


def parsed(text: str) -> dict[tuple[str, str], float]:
    """Return each value by metric and outcome; every family has a help and a type."""
    families = list(text_string_to_metric_families(text))
    assert all(family.type == "gauge" and family.documentation for family in families)
    assert len({family.name for family in families}) == len(families)
    samples = [sample for family in families for sample in family.samples]
    assert len({sample.labels["collection"] for sample in samples}) == 1
    return {
        (s.name.removeprefix("embed_index_"), s.labels.get("outcome", "")): s.value for s in samples
    }


def read(path: Path) -> dict[tuple[str, str], float]:
    return parsed(path.read_text())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "textfile").mkdir()
    return tmp_path / "textfile" / "docs.prom"


def test_the_exposition_is_what_prometheus_parses() -> None:
    values = parsed(render_metrics(METRICS))

    assert values["last_run_timestamp_seconds", ""] == METRICS.finished_at.timestamp()
    assert values["last_success_timestamp_seconds", ""] == 0
    assert values["last_run_exit_code", ""] == 4
    assert values["last_run_documents", "new"] == 3
    assert values["last_run_tokens", "embedded"] == 1_000_000_007
    assert values["last_run_duration_seconds", ""] == 2.5
    assert (values["documents", ""], values["chunks", ""]) == (7, 9)
    assert values["open_dead_letters", ""] == 1


def test_label_values_are_escaped() -> None:
    odd = 'a"b\\c\nd'
    text = render_metrics(
        RunMetrics(**{n: getattr(METRICS, n) for n in METRICS.__slots__} | {"collection": odd})
    )

    families = text_string_to_metric_families(text)

    assert {s.labels["collection"] for family in families for s in family.samples} == {odd}


def test_a_good_run_leaves_its_counts_and_its_freshness(lite_job: JobFolder, path: Path) -> None:
    before = datetime.now(UTC).timestamp()
    lite_job.write({**CORPUS, "bad": None})

    lite_job.run("--metrics-file", str(path), "--max-dead-letters", "1")
    values = read(path)

    assert before < values["last_success_timestamp_seconds", ""]
    assert values["last_success_timestamp_seconds", ""] <= values["last_run_timestamp_seconds", ""]
    assert values["last_run_exit_code", ""] == 0
    assert values["last_run_documents", "new"] == 4
    assert values["last_run_chunks", "embedded"] == values["chunks", ""] > 4
    assert values["last_run_tokens", "embedded"] > 0
    assert values["last_run_tokens_per_second", ""] > 0
    assert values["last_run_dead_letters", ""] == values["open_dead_letters", ""] == 1
    assert values["documents", ""] == 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [file.name for file in path.parent.iterdir()] == ["docs.prom"]


def test_a_failed_run_leaves_its_exit_code_and_the_last_success(
    lite_job: JobFolder, path: Path
) -> None:
    lite_job.write({**CORPUS, "bad": None})
    lite_job.run("--metrics-file", str(path), "--max-dead-letters", "1")
    good = read(path)

    lite_job.run("--metrics-file", str(path), "--max-dead-letters", "0", expect=3)
    letters = read(path)
    lite_job.write({"new": "New."}, file="b.parquet")
    lite_job.run("--metrics-file", str(path), "--server-url", "http://127.0.0.1:1", expect=4)
    away = read(path)
    with RunLock(lite_job.lock):
        lite_job.run("--metrics-file", str(path), expect=5)
    locked = read(path)
    lite_job.run("--metrics-file", str(path), "--id-column", "nothing", expect=2)
    unusable = read(path)

    failed = (letters, away, locked, unusable)
    assert [values["last_run_exit_code", ""] for values in failed] == [3, 4, 5, 2]
    assert [values["last_run_documents", "unchanged"] for values in failed] == [4, 4, 0, 0]
    for values in failed:
        name = ("last_success_timestamp_seconds", "")
        assert values[name] == good[name]
        assert values["last_run_timestamp_seconds", ""] > good["last_run_timestamp_seconds", ""]
        assert values["documents", ""] == 4


def test_a_run_that_fails_before_there_is_a_ledger_leaves_metrics(
    lite_job: JobFolder, path: Path
) -> None:
    lite_job.run("--metrics-file", str(path), expect=2)

    assert read(path)["last_run_exit_code", ""] == 2
    assert read(path)["last_success_timestamp_seconds", ""] == 0


def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    lite_job: JobFolder, tmp_path: Path
) -> None:
    lite_job.write(CORPUS)

    done = lite_job.run("--metrics-file", str(tmp_path / "absent" / "docs.prom"), expect=2)

    assert "metrics_file: " in done.stderr
    assert not lite_job.state.exists()


def test_a_file_that_cannot_be_replaced_stays_as_it_was(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()

    with pytest.raises(UnavailableError, match="metrics_file"):
        put_in_place(path, render_metrics(METRICS), setting="metrics_file", mode=READABLE_BY_ALL)

    assert [file.name for file in path.parent.iterdir()] == ["docs.prom"]


def test_mail_of_a_failing_run_begins_with_the_line_to_read(lite_job: JobFolder) -> None:
    lite_job.write({**CORPUS, "bad": None})

    letters = lite_job.run("--log-format", "text", "--quiet", expect=3)
    away = lite_job.run("--input", "nothing", expect=2)

    head, remedy = letters.stderr.splitlines()
    assert head == (
        f"error: {lite_job.collection}: 1 dead letter of 5 rows, more than the 0 allowed;"
        " everything else is in the collection"
    )
    assert f"`embed-index letters {lite_job.collection}` shows them by reason" in remedy
    assert away.stderr.startswith(f"error: {lite_job.collection}: input: ")
    assert letters.stdout == away.stdout == ""


def test_a_good_run_closes_with_one_summary_and_a_quiet_one_says_nothing(
    lite_job: JobFolder,
) -> None:
    lite_job.write(CORPUS)

    told = lite_job.run()
    quiet = lite_job.run("--quiet")

    assert told.output.count("documents ") == 1
    # This server's weaknesses are told on the other stream.
    assert told.stdout.startswith("collection ")
    assert quiet.output == ""
