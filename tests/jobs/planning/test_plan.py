"""A plan says what the run then does, and does nothing itself."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from job_fixtures import JobFolder

from embed_index.jobs.main import cli
from embed_index.jobs.planning import here
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.server.gpus import Gpu

LONG = "\n\n".join(f"Paragraph {n} speaks of pump {n * 7}." for n in range(30))
CORPUS = {f"d{n}": f"Text number {n} speaks of pumps. " * (n + 1) for n in range(12)}
CORPUS |= {"long": LONG}

H200 = Gpu(
    index=0, name="NVIDIA H200", compute_capability=(9, 0), memory_bytes=141 << 30, uuid="GPU-0"
)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this host look as if it had an H200."""
    monkeypatch.setattr(here, "visible_gpus", lambda: (H200,))


def arguments(job: JobFolder, *more: str) -> list[str]:
    return ["plan", *job.arguments(*more)[1:]]


def plan(job: JobFolder, *more: str, expect: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        job.call(*arguments(job, "--format", "json", *more), expect=expect).stdout
    )
    return made


def summary(job: JobFolder, *more: str) -> dict[str, Any]:
    done: dict[str, Any] = json.loads(job.run("--log-format", "json", "--quiet", *more).stdout)
    return done


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def changed(job: JobFolder) -> None:
    job.write(CORPUS | {"d0": "Another text.", "long": LONG.replace("pump 70", "valve 70")})


def moved_and_gone(job: JobFolder) -> None:
    job.write(dict(reversed([(doc_id, text) for doc_id, text in CORPUS.items() if doc_id != "d3"])))


def added(job: JobFolder) -> None:
    job.write({f"e{n}": f"An addition {n}. " * 9 for n in range(5)}, file="b.parquet")


def repeated(job: JobFolder) -> None:
    job.write({"d1": "A second text.", "new": "New.", "bad": None}, file="b.parquet")


def other_metadata(job: JobFolder) -> None:
    path = job.folder / "corpus" / "a.parquet"
    table = pq.read_table(path)
    topics = pa.array(["another topic", *table["topic"].to_pylist()[1:]])
    pq.write_table(table.set_column(2, "topic", topics), path)


@pytest.mark.parametrize("night", [None, changed, moved_and_gone, added, repeated, other_metadata])
def test_a_run_does_what_the_plan_said(lite_job: JobFolder, night: Any) -> None:
    flags = ("--carry", "topic", "--delete-missing", "--max-dead-letters", "9")
    lite_job.write(CORPUS)
    if night is not None:
        lite_job.run(*flags)
        night(lite_job)

    planned = plan(lite_job, *flags)
    done = summary(lite_job, *flags)

    found = planned["documents"]
    assert {
        "num_documents_read": found["num_read"],
        "num_new": found["num_new"],
        "num_changed": found["num_changed"],
        "num_unchanged": found["num_unchanged"],
        "num_refreshed": found["num_refreshed"],
        "num_deleted": found["num_missing"],
        "num_dead_letters": found["num_unusable"] + found["num_duplicate_ids"],
        "num_chunks_embedded": planned["chunks"]["value"],
        "num_tokens": planned["tokens"]["value"],
    }.items() <= done.items()
    kept = done["num_chunks_reused"] - (1 if night is other_metadata else 0)
    assert kept == planned["kept_chunks"]["value"]
    with lite_job.open_store() as store:
        version = store.versions.live(lite_job.collection)
        assert version is not None
        assert store.reader.count(version) == planned["storage"]["rows_after"]
    assert (
        sum(bin_["num_chunks"] for bin_ in planned["chunk_lengths"]) == done["num_chunks_embedded"]
    )


def gone(job: JobFolder) -> None:
    job.write({doc_id: CORPUS[doc_id] for doc_id in ("d1", "d2", "d3")} | {"new": "New."})


def copied(job: JobFolder) -> None:
    (job.folder / "corpus" / "copy.parquet").write_bytes(
        (job.folder / "corpus" / "a.parquet").read_bytes()
    )


@pytest.mark.parametrize(
    ("night", "code", "message"),
    [
        (gone, 2, "delete_missing: 10 of 14 documents are no longer in the corpus, more than"),
        (copied, 3, "13 dead letters of 26 rows, more than the 0 allowed; everything else"),
    ],
)
def test_a_plan_ends_as_the_run_would(
    lite_job: JobFolder, night: Any, code: int, message: str
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    night(lite_job)

    page = lite_job.call(*arguments(lite_job, "--delete-missing"), expect=code).stdout
    planned = plan(lite_job, "--delete-missing", expect=code)
    refused = lite_job.run("--delete-missing", expect=code)

    (refusal,) = planned["refusals"]
    assert refusal["exit_code"] == code
    assert refusal["message"].startswith(message)
    assert refusal["message"] in refused.stderr
    assert refusal["message"] in page
    assert refusal["remedy"] in page
    assert planned["documents"]["num_repeated"] == 0


@pytest.mark.parametrize(
    ("flags", "message", "embeds"),
    [
        (("--dimension", "32"), "dimension is 64 there and 32 in this job", True),
        (("--max-tokens", "48"), "max_tokens is 64 there and 48 in this job", True),
        (("--text-search",), "text_analyzer is '' there and ", False),
        (("--carry", "topic"), "the carried columns are none there and topic (text)", False),
    ],
)
def test_a_plan_of_what_was_made_another_way_is_refused_and_prices_the_rebuild(
    lite_job: JobFolder, flags: tuple[str, ...], message: str, *, embeds: bool
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()

    page = lite_job.call(*arguments(lite_job, *flags), expect=2).stdout
    planned = plan(lite_job, *flags, expect=2)
    refused = lite_job.run(*flags, expect=2)
    rebuilt = plan(lite_job, *flags, "--rebuild")
    done = summary(lite_job, *flags, "--rebuild")

    (refusal,) = planned["refusals"]
    assert message in refusal["message"]
    assert refusal["message"] in refused.stderr
    assert "run with --rebuild" in refusal["remedy"]
    assert refusal["message"] in page
    assert page.splitlines()[-1].startswith("Plan: with --rebuild ")
    assert planned["rebuilds"]
    assert rebuilt["refusals"] == []
    assert planned["tokens"] == rebuilt["tokens"]
    assert planned["tokens"]["value"] == done["num_tokens"]
    assert (done["num_tokens"] > 0) is embeds


def test_a_rebuild_that_was_begun_another_way_is_not_gone_on_with(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()

    def cut_short(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr("embed_index.jobs.runs.index.settle", cut_short)
        lite_job.run("--dimension", "32", "--rebuild", expect=130)

    as_begun = plan(lite_job, "--dimension", "32", expect=2)
    otherwise = plan(lite_job, "--dimension", "48", expect=2)

    assert as_begun["compared_with"] == f"{lite_job.collection}_v2"
    assert as_begun["documents"]["num_unchanged"] == len(CORPUS)
    assert otherwise["compared_with"] is None
    assert otherwise["documents"]["num_new"] == len(CORPUS)


def test_a_ledger_that_does_not_know_how_its_version_was_made_says_so(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    with sqlite3.connect(lite_job.ledger) as other:
        other.execute("DELETE FROM figures WHERE kind = 'contract'")

    page = lite_job.call(*arguments(lite_job, "--dimension", "32")).stdout

    assert "how it was made shows in its next run" in page


def test_what_is_forced_or_rebuilt_is_not_refused(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    gone(lite_job)

    forced = plan(lite_job, "--delete-missing", "--force")
    kept = plan(lite_job)

    assert (forced["refusals"], kept["refusals"]) == ([], [])


def test_a_text_that_came_before_is_repeated_and_no_dead_letter(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    copied(lite_job)

    planned = plan(lite_job, "--id-from", "text")
    done = summary(lite_job, "--id-from", "text")

    found = planned["documents"]
    assert (found["num_repeated"], found["num_duplicate_ids"]) == (len(CORPUS), 0)
    assert (done["num_repeated"], done["num_dead_letters"]) == (len(CORPUS), 0)


def test_the_last_line_counts_what_is_refreshed(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run("--carry", "topic")
    other_metadata(lite_job)

    page = lite_job.call(*arguments(lite_job, "--carry", "topic")).stdout

    assert page.splitlines()[-1].startswith("Plan: 0 to add, 0 to change, 1 to refresh, 0 to")


@pytest.mark.parametrize("is_first", [True, False])
def test_nothing_is_written_and_no_server_is_asked(lite_job: JobFolder, *, is_first: bool) -> None:
    lite_job.write(CORPUS)
    if not is_first:
        lite_job.run()
        changed(lite_job)
    before, asked = files(lite_job.folder), lite_job.server.num_requests

    plan(lite_job)

    assert files(lite_job.folder) == before
    assert lite_job.server.num_requests == asked


def test_a_plan_beside_a_run_sees_one_moment_of_the_ledger(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    from embed_index.jobs.planning import planning

    plan_of = planning.plan_of

    def plan_while_all_is_deleted(*given: Any, **more: Any) -> Any:
        # The snapshot begins with the first look, which chose the version.
        with sqlite3.connect(lite_job.ledger) as other:
            other.execute("DELETE FROM documents")
            other.execute("DELETE FROM stretches")
        return plan_of(*given, **more)

    monkeypatch.setattr(planning, "plan_of", plan_while_all_is_deleted)

    assert plan(lite_job)["documents"]["num_unchanged"] == len(CORPUS)


def test_what_cannot_be_read_leaves_open_what_is_missing(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.write({"other": "Another."}, file="b.parquet")
    lite_job.run()
    (lite_job.folder / "corpus" / "b.parquet").write_text("no Parquet")

    flags = ("--on-bad-file", "skip", "--max-dead-letters", "1")
    found = plan(lite_job, *flags)["documents"]
    limited = plan(lite_job, *flags, "--limit", "3")["documents"]

    assert (found["num_files_skipped"], found["num_missing"]) == (1, None)
    assert (limited["num_unchanged"], limited["num_missing"]) == (3, None)


def test_what_a_dead_run_began_is_not_taken_off_the_rows_twice(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    rows = plan(lite_job)["storage"]["rows_after"]
    with Ledger(lite_job.ledger) as ledger:
        documents = ledger.find_documents(f"{lite_job.collection}_v1")
        assert documents is not None
        documents.begin([("long", 1), ("d11", 1)])

    planned = plan(lite_job)

    assert planned["documents"]["num_changed"] == 2
    assert planned["storage"]["rows_after"] == rows


def test_a_rebuild_begins_anew_and_goes_on(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()

    again, rebuilt = plan(lite_job), plan(lite_job, "--rebuild")

    assert again["compared_with"] == f"{lite_job.collection}_v1"
    assert again["tokens"]["value"] == 0
    assert rebuilt["compared_with"] is None
    assert rebuilt["documents"]["num_new"] == len(CORPUS)


def test_a_sample_counts_documents_exactly_and_estimates_tokens(lite_job: JobFolder) -> None:
    texts = {f"d{n}": f"Text {n} speaks of pumps. " * (n % 40 + 1) for n in range(3000)}
    lite_job.write(texts)
    exact = plan(lite_job)

    sampled = [plan(lite_job, "--sample", "1%", "--seed", str(seed)) for seed in range(3)]

    for drawn in sampled:
        assert drawn["documents"] == exact["documents"]
        assert 0 < drawn["num_sampled"] < 3000
        for name in ("tokens", "chunks"):
            assert drawn[name]["error"] > 0
            off = abs(drawn[name]["value"] - exact[name]["value"])
            assert off <= drawn[name]["error"]
    assert len({drawn["tokens"]["value"] for drawn in sampled}) == 3
    assert exact["num_sampled"] is None


def test_the_page_says_what_was_measured_and_what_was_not(
    lite_job: JobFolder, on_gpu: None
) -> None:
    lite_job.write(CORPUS)
    environment = {"MILVUS_URI": lite_job.uri}

    page = lite_job.call(
        *arguments(lite_job, "--price-per-gpu-hour", "2.5", "--on", "2xL4"), environment=environment
    ).stdout

    assert "NVIDIA H200 (here)" in page
    assert "estimate: by operations, from the sizes measured on H200" in page
    assert "2 x L4" in page
    assert "x 989/121" in page
    assert "costs" in page
    assert "there is no ledger to compare with" in page
    assert page.splitlines()[-1].startswith(f"Plan: {len(CORPUS)} to add, 0 to change, 0 to delete")


def test_a_host_without_a_gpu_gets_no_time_before_its_first_run(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)

    planned = plan(lite_job, "--on", "H200")

    here_, h200 = planned["times"]
    assert (here_["is_here"], here_["obstacle"], here_["total_seconds"]) == (True, "unknown", None)
    assert h200["total_seconds"]["value"] > 0


def test_fp8_is_planned_for_cards_that_have_it(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)

    times = plan(lite_job, "--dtype", "fp8", "--on", "A100", "--on", "L40S")["times"]

    assert [time["obstacle"] for time in times[1:]] == ["no fp8", ""]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--max-tokens-embedded", "10"), "tokens would be embedded, more than the 10 allowed"),
        (
            ("--max-cost", "0.0001", "--price-per-gpu-hour", "2"),
            "max_cost: this would cost some 0.0",
        ),
        (("--max-cost", "5"), "max_cost needs to know what an hour costs"),
        (("--sample", "none"), "'none' is neither a share"),
        (("--sample", "0"), "'0' is neither a share"),
        (("--on", "T4"), "nothing is known here of the speed of 'T4'"),
    ],
)
def test_limits_and_mistakes_end_with_two(
    lite_job: JobFolder, on_gpu: None, flags: tuple[str, ...], message: str
) -> None:
    lite_job.write(CORPUS)

    done = lite_job.call(
        *arguments(lite_job, *flags), expect=2, environment={"MILVUS_URI": lite_job.uri}
    )

    assert message in done.stderr


def test_a_corpus_can_be_planned_before_anything_else_is_settled(
    tmp_path: Path, sample_model: Path
) -> None:
    pq.write_table(pa.table({"id": [1, 2], "text": ["One.", "Two."]}), tmp_path / "a.parquet")
    flags: Mapping[str, str] = {"--input": str(tmp_path), "--model": str(sample_model)}

    done = CliRunner().invoke(cli, ["plan", *(part for pair in flags.items() for part in pair)])

    assert done.exit_code == 0, done.output
    assert "Plan: 2 to add" in done.stdout
