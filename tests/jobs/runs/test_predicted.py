"""A run holds its limits, and leaves what it was expected to take beside what it took."""

import json
from typing import Any

import pytest
from job_fixtures import JobFolder

from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.planning import prediction

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps. " * 9 for n in range(8)}


def predictions(job: JobFolder) -> list[dict[str, Any] | None]:
    """Of each run, the oldest first."""
    return [run["prediction"] for run in reversed(job.history())]


def test_the_first_run_without_a_gpu_is_not_predicted_and_the_second_one_is(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "_MIN_SECONDS", 0.0)
    lite_job.write(CORPUS)
    lite_job.run()
    lite_job.write(CORPUS | {f"e{n}": f"Another text {n}. " * 9 for n in range(8)})
    lite_job.run()
    lite_job.run()

    first, second, idle = predictions(lite_job)
    table = lite_job.on_ledger("history").stdout.splitlines()

    assert first is not None
    assert second is not None
    assert first["expected_total_seconds"] is None
    assert first["num_chunks"] == lite_job.history()[2]["num_chunks_embedded"]
    assert first["num_tokens"] == lite_job.history()[2]["num_tokens"]
    assert 0 < first["embedding_seconds"] <= first["total_seconds"]
    pace = first["embedding_seconds"] / first["curve_seconds"]
    assert second["num_past_runs"] == 1
    assert second["expected_embedding_seconds"] == pytest.approx(pace * second["curve_seconds"])
    assert second["basis"] == "own runs"
    assert idle is None
    expected = [line.split()[-3] for line in table[1:]]
    assert expected == ["-", f"{second['expected_total_seconds']:,.1f}", "-"]


def test_a_plan_uses_what_runs_have_shown(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "_MIN_SECONDS", 0.0)
    lite_job.write(CORPUS)
    lite_job.run()
    lite_job.write(CORPUS | {"e": "Another text. " * 9})
    flags = ["plan", *lite_job.arguments("--format", "json")[1:]]

    (here, *_) = json.loads(lite_job.call(*flags).stdout)["times"]
    lite_job.run()

    _, second = predictions(lite_job)
    assert second is not None
    assert here["num_past_runs"] == 1
    assert here["embedding_seconds"]["value"] == pytest.approx(second["expected_embedding_seconds"])
    assert here["total_seconds"]["value"] == pytest.approx(second["expected_total_seconds"])


def test_a_run_that_would_embed_too_much_does_nothing_and_shows_the_plan(
    lite_job: JobFolder,
) -> None:
    lite_job.write(CORPUS)
    lite_job.run("--max-tokens-embedded", "100000")
    lite_job.write({doc_id: f"Exported anew: {text}" for doc_id, text in CORPUS.items()})
    asked = lite_job.server.num_requests
    before = lite_job.doc_hashes("v1")

    refused = lite_job.run("--max-tokens-embedded", "50", expect=2)
    as_lines = lite_job.run("--max-tokens-embedded", "50", "--log-format", "json", expect=2)

    first_line, *rest = refused.stderr.splitlines()
    assert "max_tokens_embedded: " in first_line
    assert "more than the 50 allowed; nothing was done" in first_line
    assert any("Plan: 0 to add, 8 to change" in line for line in rest)
    told = json.loads(as_lines.stderr.splitlines()[-1])
    assert (told["event"], told["exit_code"]) == ("error", 2)
    assert "Plan: 0 to add, 8 to change" in told["notes"][0]
    assert lite_job.server.num_requests == asked
    assert lite_job.doc_hashes("v1") == before
    assert lite_job.history()[0]["outcome"] == "failed"


def test_a_run_within_its_limits_keeps_what_was_planned(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)

    lite_job.run("--max-tokens-embedded", "100000")

    (kept,) = predictions(lite_job)
    assert kept is not None
    assert kept["planned_tokens"] == kept["num_tokens"]


def test_a_cost_that_nobody_can_tell_is_no_licence(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    flags = ("--max-cost", "5", "--price-per-gpu-hour", "2")

    refused = lite_job.run(*flags, expect=2)

    assert "nobody can tell what this costs on servers at http" in refused.stderr


def test_a_rebuild_that_takes_vectors_over_is_not_taken_for_a_new_corpus(
    lite_job: JobFolder,
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()

    lite_job.run("--rebuild", "--carry", "topic", "--max-tokens-embedded", "0")

    assert lite_job.versions() == ["v1", "v2"]


def test_a_lost_ledger_is_rebuilt_before_a_limit_is_held(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    lite_job.ledger.unlink()

    lite_job.run("--max-tokens-embedded", "0")


def test_predictions_stay_with_their_run(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()

    with Ledger(lite_job.ledger) as ledger:
        (figures,) = ledger.figures.latest(kind="prediction")

    assert (figures.version, figures.run_id) == (f"{lite_job.collection}_v1", 1)
