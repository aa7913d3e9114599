"""What a run says while it runs, on a terminal, in a log, and under cron."""

import contextlib
import io
import json
import re

import pytest

from embed_index.jobs.cli.progress import (
    JsonReporter,
    PlainReporter,
    Reporter,
    TerminalReporter,
    open_reporter,
)
from embed_index.schemas.records import DeadLetter, SourceRow
from embed_index.schemas.settings import JobSettings
from embed_index.schemas.summary import RunCounters, RunSummary

LETTER = DeadLetter(
    source=SourceRow(path="a.parquet", row_group=1, row=2),
    stage="read",
    reason="null_text",
    detail="the text is null",
    doc_id="d\ud800",
)
SUMMARY = RunSummary(
    collection="articles",
    version="articles_v1",
    num_documents_read=1200,
    num_new=1000,
    num_changed=100,
    num_unchanged=90,
    num_refreshed=7,
    num_deleted=3,
    num_chunks_embedded=5000,
    num_chunks_reused=20,
    num_tokens=2_000_000,
    num_tokens_saved=10_000,
    num_dead_letters=3,
    seconds=40.0,
    dead_letters_file="/state/dead-letters/1.parquet",
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at(seconds: float, *, chunks: int = 0, tokens: int = 0, done: int = 0) -> RunCounters:
    return RunCounters(
        seconds=seconds, num_chunks_embedded=chunks, num_tokens=tokens, num_documents_done=done
    )


def go_through_a_run(reporter: Reporter) -> None:
    reporter.started(collection="articles", num_documents=2)
    reporter.progressed(at(0.1), waiting_for="the server")
    reporter.progressed(at(1.0, chunks=3, tokens=1500, done=2), waiting_for="")
    reporter.dead_letter(LETTER)
    reporter.notice("The server is started again.")
    reporter.finished(SUMMARY)


@pytest.mark.parametrize(
    ("log_format", "quiet", "stream", "kind"),
    [
        ("auto", False, Terminal, TerminalReporter),
        ("auto", False, io.StringIO, PlainReporter),
        ("auto", True, Terminal, PlainReporter),
        ("text", False, Terminal, PlainReporter),
        ("json", False, Terminal, JsonReporter),
        ("json", False, io.StringIO, JsonReporter),
    ],
)
def test_format_and_terminal_choose_the_reporter(
    log_format: str, quiet: bool, stream: type[io.StringIO], kind: type[PlainReporter]
) -> None:
    settings = JobSettings.model_validate({"log_format": log_format, "quiet": quiet})

    with open_reporter(settings, stdout=io.StringIO(), stderr=stream()) as reporter:
        assert type(reporter) is kind


def test_without_a_terminal_there_are_only_notices_and_a_closing_summary() -> None:
    stream, results = io.StringIO(), io.StringIO()

    go_through_a_run(PlainReporter(stream=stream, results=results))

    assert stream.getvalue() == "The server is started again.\n"
    assert results.getvalue() == (
        "collection    articles (articles_v1)\n"
        "documents     1,200 (1,000 new, 100 changed, 90 unchanged, 7 refreshed, 3 deleted)\n"
        "chunks        5,000 embedded, 20 kept\n"
        "tokens        2,000,000 embedded, 10,000 saved\n"
        "dead letters  3, see /state/dead-letters/1.parquet\n"
        "time          40.0 s, 50,000 tokens/s\n"
    )


def test_quiet_says_nothing_at_all() -> None:
    stream = io.StringIO()

    go_through_a_run(PlainReporter(stream=stream, results=stream, quiet=True))

    assert stream.getvalue() == ""


def test_bar_shows_documents_chunks_rate_and_what_is_waited_for() -> None:
    stream = Terminal()
    reporter = TerminalReporter(stream=stream, results=io.StringIO())

    reporter.started(collection="articles", num_documents=4)
    reporter.progressed(at(100.0, chunks=1234, tokens=1000), waiting_for="")
    reporter.progressed(at(110.0, chunks=1235, tokens=3000, done=2), waiting_for="the server")

    last = stream.getvalue().rpartition("\r")[2]
    assert re.search(r"articles:\s+50%.* 2/4 ", last)
    assert "1,235 chunks, 200 tokens/s, waiting for the server" in last
    reporter.close()


def test_bar_fits_into_a_terminal_of_120_columns_and_still_shows_something() -> None:
    stream = Terminal()
    reporter = TerminalReporter(stream=stream, results=io.StringIO())

    reporter.started(collection="articles", num_documents=50_000)
    reporter.progressed(at(1.0, tokens=1), waiting_for="")
    counters = at(11.0, chunks=30_000, tokens=700_000, done=25_000)
    reporter.progressed(counters, waiting_for="the embedding server")

    last = stream.getvalue().rpartition("\r")[2].strip()
    assert "|#####     |" in last
    assert last.endswith("waiting for the embedding server]")
    assert len(last) <= 120
    reporter.close()


def test_time_left_follows_the_pace_of_late_and_not_what_was_there_before() -> None:
    stream = Terminal()
    reporter = TerminalReporter(stream=stream, results=io.StringIO())

    reporter.started(collection="articles", num_documents=50_000)
    for second in range(2):
        reporter.progressed(at(second, done=20_000 * second), waiting_for="")
    for second in range(2, 60):
        done = 20_000 + 100 * (second - 1)
        reporter.progressed(at(second, tokens=100 * second, done=done), waiting_for="")
    moving = stream.getvalue().rpartition("\r")[2]
    for second in range(60, 100):
        reporter.progressed(at(second, tokens=1, done=25_800), waiting_for="Milvus")
    standing = stream.getvalue().rpartition("\r")[2]

    # 24,200 documents, 100 a second; all 25,800 in a minute would have it take less than one.
    assert "<04:02," in moving
    assert "<?," in standing
    reporter.close()


def test_time_left_after_a_resume_counts_from_the_first_vector() -> None:
    stream = Terminal()
    reporter = TerminalReporter(stream=stream, results=io.StringIO())

    def last() -> str:
        return stream.getvalue().rpartition("\r")[2]

    reporter.started(collection="articles", num_documents=50_000)
    reporter.progressed(at(0, done=0), waiting_for="")
    for second in range(1, 25):
        reporter.progressed(at(second, done=20_000), waiting_for="the embedding server to start")
    starting = last()
    for second in range(25, 30):
        done = 20_000 + 100 * (second - 25)
        reporter.progressed(at(second, tokens=second, done=done), waiting_for="")

    assert "<?," in starting
    # 29,600 documents, 100 a second, after five seconds of embedding.
    assert "<04:56," in last()
    reporter.close()


def test_time_left_of_a_night_without_changes_counts_what_is_read() -> None:
    stream = Terminal()
    reporter = TerminalReporter(stream=stream, results=io.StringIO())

    reporter.started(collection="articles", num_documents=50_000)
    for second in range(5):
        reporter.progressed(at(second, done=1000 * second), waiting_for="")

    assert "<00:46," in stream.getvalue().rpartition("\r")[2]
    reporter.close()


def test_without_a_terminal_a_long_start_is_told_once() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(stream=stream, results=io.StringIO())

    for quarter in range(100):
        reporter.progressed(at(quarter / 4), waiting_for="the embedding server to start")
    for quarter in range(100, 200):
        reporter.progressed(at(quarter / 4, tokens=quarter), waiting_for="Milvus")

    assert stream.getvalue() == "waiting for the embedding server to start\n"


def test_bar_is_wiped_before_the_summary_and_after_a_failure() -> None:
    finished, failed = Terminal(), Terminal()
    settings = JobSettings()

    with open_reporter(settings, stdout=finished, stderr=finished) as reporter:
        go_through_a_run(reporter)
    with (
        contextlib.suppress(ZeroDivisionError),
        open_reporter(settings, stdout=io.StringIO(), stderr=failed) as reporter,
    ):
        reporter.started(collection="articles", num_documents=1)
        raise ZeroDivisionError

    assert finished.getvalue().rpartition("\r")[2] == SUMMARY.to_text() + "\n"
    assert failed.getvalue().rpartition("\r")[2] == ""


def test_json_events_go_to_one_stream_and_the_summary_to_the_other() -> None:
    events, results = io.StringIO(), io.StringIO()

    go_through_a_run(JsonReporter(events=events, results=results))
    lines = [json.loads(line) for line in events.getvalue().splitlines()]
    summary = json.loads(results.getvalue())

    assert [line["event"] for line in lines] == ["start", "dead_letter", "notice"]
    assert all(re.fullmatch(r"[-0-9]+T[0-9:.]+\+00:00", line["time"]) for line in lines)
    assert lines[1]["source"] == "a.parquet#1:2"
    assert lines[1]["reason"] == "null_text"
    assert (summary["event"], summary["num_tokens"]) == ("summary", 2_000_000)
    assert summary["tokens_per_second"] == 50_000


def test_json_progress_comes_at_most_once_per_interval() -> None:
    events = io.StringIO()
    reporter = JsonReporter(events=events, results=io.StringIO(), progress_seconds=10)

    for second in range(1, 26):
        counters = at(second, chunks=second, tokens=100 * second)
        reporter.progressed(counters, waiting_for="")
    lines = [json.loads(line) for line in events.getvalue().splitlines()]

    assert [(line["event"], line["num_chunks_embedded"]) for line in lines] == [
        ("progress", 10),
        ("progress", 20),
    ]
    assert lines[0]["tokens_per_second"] == 100


def test_quiet_json_leaves_only_the_summary() -> None:
    events, results = io.StringIO(), io.StringIO()

    go_through_a_run(JsonReporter(events=events, results=results, quiet=True))

    assert events.getvalue() == ""
    assert json.loads(results.getvalue())["event"] == "summary"


def test_summary_of_an_instant_run_has_no_rate() -> None:
    fields = SUMMARY.to_dict()
    del fields["tokens_per_second"]

    assert RunSummary(**{**fields, "seconds": 0.0}).tokens_per_second == 0.0  # type: ignore[arg-type]
