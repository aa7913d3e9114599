"""A job's gate: what is worse does not go live, what is as good does, and a night is watched."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder

from embed_index.pipeline.evaluation.quality import Quality
from embed_index.pipeline.ledger.ledger import Ledger

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps." for n in range(12)}
PLAIN = ("--query-instruction", "")
WRONG = ("--document-instruction", "Translate the text into Latin")


@pytest.fixture
def asked(lite_job: JobFolder) -> JobFolder:
    """A job whose queries are its documents' own texts."""
    lite_job.write(CORPUS)
    lines = [
        json.dumps({"_id": f"q-{doc_id}", "text": text, "doc_ids": [doc_id]})
        for doc_id, text in CORPUS.items()
    ]
    (lite_job.folder / "queries.jsonl").write_text("\n".join(lines))
    return lite_job


def gate(job: JobFolder, *limits: str) -> list[str]:
    return ["--quality-queries", str(job.folder / "queries.jsonl"), *limits]


def qualities(job: JobFolder) -> Sequence[tuple[str, str, float]]:
    """Version, verdict and nDCG of what the ledger keeps, the oldest first."""
    with Ledger(job.ledger) as ledger:
        kept = [*ledger.figures.latest(kind="quality")][::-1]
    return [
        (figures.version.rpartition("_")[2], quality.verdict, round(quality.ndcg, 4))
        for figures in kept
        for quality in [Quality.from_json(figures.content)]
    ]


@pytest.mark.parametrize("limits", [("--min-ndcg", "0.9"), ("--max-drop", "0.02")], ids=" ".join)
def test_a_version_with_a_wrong_instruction_does_not_go_live_unless_it_is_asked_for(
    asked: JobFolder, limits: tuple[str, str]
) -> None:
    asked.run(*PLAIN)

    done = asked.run(*PLAIN, *WRONG, "--rebuild", *gate(asked, *limits), expect=7)
    held, live = asked.versions(), asked.live()
    again = asked.run(*PLAIN, *WRONG, "--rebuild", *gate(asked, *limits), expect=7)
    asked.run(*PLAIN, *WRONG, "--rebuild", *gate(asked, *limits), "--ungated")

    assert f"{asked.collection}_v2 did not go live: its nDCG@10 is" in done.stderr
    assert f"`embed-index promote {asked.collection} 2 --ungated`" in done.stderr
    assert (held, live) == (["v1", "v2"], f"{asked.collection}_v1")
    assert "did not go live" in again.stderr
    assert asked.live() == f"{asked.collection}_v2"
    newest, second, first, _ = asked.history()
    assert [run["exit_code"] for run in (first, second, newest)] == [7, 7, 0]
    assert second["num_tokens"] == 0


def test_an_equal_version_goes_live_and_both_are_on_record(asked: JobFolder) -> None:
    limits = gate(asked, "--min-ndcg", "0.9", "--max-drop", "0.02")
    asked.run(*PLAIN)

    done = asked.run(*PLAIN, "--rebuild", "--max-tokens", "48", *limits)

    assert asked.live() == f"{asked.collection}_v2"
    assert f"{asked.collection}_v2 goes live with nDCG@10 1.0000 of 12 queries" in done.stderr
    assert qualities(asked) == [("v1", "", 1.0), ("v2", "good", 1.0)]


def test_a_wrong_query_instruction_is_found_out_and_the_mended_job_begins_anew(
    asked: JobFolder,
) -> None:
    limits = gate(asked, "--max-drop", "0.02")
    asked.run(*PLAIN)
    asked.run("--query-instruction", "Sing", "--rebuild", *limits, expect=7)

    asked.run(*PLAIN, "--rebuild", *limits)

    assert asked.live() == f"{asked.collection}_v3"


def test_a_night_is_judged_after_it_and_only_warned_of(asked: JobFolder) -> None:
    limits = gate(asked, "--max-drop", "0.02")
    first = asked.run(*PLAIN, *limits)
    quiet = asked.run(*PLAIN, *limits)
    # Half of the documents say something else, so that their queries find others.
    asked.write({**CORPUS, **{f"d{n}": f"Changed number {n}." for n in range(6)}})

    done = asked.run(*PLAIN, *limits)

    assert "worse" not in first.stderr + quiet.stderr
    assert f"{asked.collection}_v1 became worse: its nDCG@10 is 0." in done.stderr
    assert [(version, verdict) for version, verdict, _ in qualities(asked)] == [
        ("v1", "good"),
        ("v1", "warned"),
    ]
    assert [run["outcome"] for run in asked.history()] == ["done"] * 3


def test_promote_holds_back_what_is_worse_and_takes_it_where_it_is_told_to(
    asked: JobFolder,
) -> None:
    asked.run(*PLAIN)
    asked.run(*PLAIN, *WRONG, "--rebuild")
    asked.on_collection("rollback")
    model = ("--model", str(asked.model))
    limits = gate(asked, "--max-drop", "0.1")

    done = asked.on_collection("promote", "2", *limits, *model, expect=7)
    live = asked.live()
    taken = asked.on_collection("promote", "2", *limits, "--ungated", *model)
    back = asked.on_collection("promote", "1", *limits, *model)

    assert "did not go live: its nDCG@10 is" in done.stderr
    assert live == f"{asked.collection}_v1"
    assert taken.stdout == f"{asked.collection}_v2 is live, {live} was\n"
    assert f"{live}: nDCG@10 1.0000 of 12 queries" in back.stderr
    assert asked.live() == live


def test_a_version_that_was_held_back_can_be_promoted_without_a_run(asked: JobFolder) -> None:
    limits = gate(asked, "--min-ndcg", "0.9")
    asked.run(*PLAIN)
    asked.run(*PLAIN, *WRONG, "--rebuild", *limits, expect=7)

    refused = asked.on_collection("promote", *limits, "--model", str(asked.model), expect=7)
    asked.on_collection("promote", "2", "--ungated")

    assert "below min_ndcg 0.9" in refused.stderr
    assert asked.live() == f"{asked.collection}_v2"


def test_a_live_version_of_another_model_is_compared_by_what_was_found_last(
    asked: JobFolder,
) -> None:
    limits = gate(asked, "--max-drop", "0.02")
    with HashEmbeddingServer(salt="other") as server:
        other = replace(asked, server=server)
        asked.run(*PLAIN)
        # The same files, but a server that gives other vectors: the live version is not its own.
        unknown = other.run(*PLAIN, "--max-tokens", "48", "--rebuild", *limits, expect=7)
        asked.on_collection(
            "eval", "--queries", str(asked.folder / "queries.jsonl"), "--model", str(asked.model)
        )

        other.run(*PLAIN, "--max-tokens", "48", "--rebuild", *limits)

    assert "has no figures for these queries to compare it with" in unknown.stderr
    assert f"`embed-index eval {asked.collection}_v1" in unknown.stderr
    assert asked.live() == f"{asked.collection}_v2"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ('{"_id": "a", "text": "x"}', "does not say which documents answer its queries"),
        ('{"_id": "a", "text": "x", "doc_ids": ["nobody"]}', "holds none of the 1 documents"),
    ],
    ids=["empty", "unlabelled", "foreign"],
)
def test_queries_that_cannot_be_used_are_told_of(
    asked: JobFolder, content: str, complaint: str
) -> None:
    asked.run(*PLAIN)
    (asked.folder / "queries.jsonl").write_text(content)

    done = asked.run(*PLAIN, "--rebuild", *gate(asked, "--min-ndcg", "0.5"), expect=2)

    assert complaint in done.stderr
    assert asked.live() == f"{asked.collection}_v1"


def test_history_and_metrics_show_what_runs_found(asked: JobFolder) -> None:
    metrics = asked.folder / "quality.prom"
    asked.run(*PLAIN)
    before = asked.on_ledger("history").stdout
    asked.run(*PLAIN, *WRONG, "--rebuild", *gate(asked, "--min-ndcg", "0.9"), expect=7)
    asked.run(*PLAIN, "--rebuild", *gate(asked), "--metrics-file", str(metrics))

    head, newest, held, first = asked.on_ledger("history").stdout.splitlines()
    ndcg = [run["quality"] and round(run["quality"]["nDCG@10"], 4) for run in asked.history()]

    assert "nDCG@10" not in before
    assert head.split()[-2:] == ["nDCG@10", "reason"]
    assert [line.split()[-1] for line in (newest, first)] == ["1.0000", "-"]
    assert (ndcg[0], ndcg[2]) == (1.0, None)
    assert f"  {ndcg[1]:.4f}  " in held
    assert asked.history()[1]["quality"]["verdict"] == "held"
    assert "embed_index_quality_ndcg_at_10{" in metrics.read_text()
    value = metrics.read_text().partition("quality_ndcg_at_10{")[2].splitlines()[0].split()[-1]
    assert float(value) == 1.0


def test_limits_without_queries_and_a_job_without_the_extra_are_refused_at_once(
    asked: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = asked.run(*PLAIN, "--max-drop", "0.02", expect=2)
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    without = asked.run(*PLAIN, *gate(asked, "--max-drop", "0.02"), expect=2)

    assert "max_drop is about queries, and none are named" in alone.stderr
    assert "ir_measures is not installed" in without.stderr
    assert asked.live() is None


def test_queries_stand_beside_the_job_file(asked: JobFolder) -> None:
    job_file = asked.folder / "nightly.toml"
    job_file.write_text('[quality]\nqueries = "queries.jsonl"\nmin_ndcg = 0.9\n')
    asked.run(*PLAIN)

    done = asked.run(str(job_file), *PLAIN, *WRONG, "--rebuild", expect=7)
    model = ("--model", str(asked.model))
    found = asked.on_collection("eval", "--job", str(job_file), *model, "--against", "@v2")

    assert "below min_ndcg 0.9" in done.stderr
    assert "queries  12 of queries.jsonl" in found.stdout
    assert f"against {asked.collection}_v2: nDCG@10 1.0000 and" in found.stdout


def test_a_version_of_a_name_that_was_held_is_not_taken_for_it(
    asked: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.run(*PLAIN)
    asked.run(*PLAIN, *WRONG, "--rebuild", *gate(asked, "--min-ndcg", "0.9"), expect=7)
    asked.on_collection("gc", "--keep", "0")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr("embed_index.jobs.runs.index.settle", interrupt)
        asked.run(*PLAIN, "--rebuild", expect=130)

    done = asked.on_collection("promote", "2", "--ungated", expect=2)

    assert asked.versions() == ["v1", "v2"]
    assert "the rebuild that fills it is not finished" in done.stderr
