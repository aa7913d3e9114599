"""`embed-index eval`: rankings by document, every cut of the vectors, versions query by query."""

import json
from pathlib import Path
from typing import Any

import pytest
from job_fixtures import JobFolder

from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.evaluation.quality import Quality
from embed_index.pipeline.ledger.ledger import Ledger

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps." for n in range(20)}
LONG = {"long": " ".join(f"Sentence number {n} of a long document." for n in range(60))}
PLAIN = ("--query-instruction", "")


@pytest.fixture
def asked(lite_job: JobFolder) -> JobFolder:
    """A collection whose documents' own texts are the queries."""
    lite_job.write(CORPUS | LONG)
    lite_job.run(*PLAIN, "--carry", "topic", "--text-search")
    rows = [{"_id": f"q-{doc_id}", "text": text} for doc_id, text in CORPUS.items()]
    (lite_job.folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (lite_job.folder / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q-{d}\t{d}\t1\n" for d in CORPUS)
    )
    return lite_job


def labels(job: JobFolder) -> list[str]:
    return [
        "--queries",
        str(job.folder / "queries.jsonl"),
        "--qrels",
        str(job.folder / "qrels.tsv"),
    ]


def evaluated(job: JobFolder, *more: str) -> dict[str, Any]:
    done = job.on_collection("eval", *more, "--format", "json", "--model", str(job.model))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_mode_and_every_cut_is_measured_and_recorded(asked: JobFolder) -> None:
    found = evaluated(asked, *labels(asked), "--mode", "dense,text,hybrid", "--dimensions", "8,32")[
        "quality"
    ]

    ways = [(way["mode"], way["dimension"], way["exact"]) for way in found["measured"]]
    assert ways == [
        ("dense", 64, False),
        ("text", 0, False),
        ("hybrid", 64, False),
        ("dense", 64, True),
        ("dense", 32, True),
        ("dense", 8, True),
    ]
    means = [way["values"]["nDCG@10"]["mean"] for way in found["measured"]]
    # Equal texts have equal vectors, and only the number tells one text's words from another's.
    assert means[0] == means[3] == 1.0
    assert found["ann_recall"] == 1.0
    assert found["num_queries"] == 20
    assert found["latency"]["p50_ms"] <= found["latency"]["p99_ms"]
    with Ledger(asked.ledger) as ledger:
        (kept,) = ledger.figures.latest(kind="quality")
    assert kept.version == f"{asked.collection}_v1"
    assert json.loads(Quality.from_json(kept.content).to_json()) == found


def test_a_table_is_for_people(asked: JobFolder) -> None:
    done = asked.on_collection("eval", *labels(asked), "--model", str(asked.model))

    lines = done.stdout.splitlines()
    assert lines[0] == f"version  {asked.collection}_v1"
    assert lines[1] == "queries  20 of queries.jsonl, qrels.tsv"
    (head,) = [line for line in lines if line.startswith("search ")]
    assert head.split()[1:3] == ["dimension", "nDCG@10"]
    (row,) = [line for line in lines if line.startswith("dense  ")]
    assert row.split()[1:3] == ["64", "1.0000"]
    assert lines[-1] == "every query finds what answers it, and in the right order"


def test_a_document_counts_once_however_many_of_its_chunks_are_found(asked: JobFolder) -> None:
    (asked.folder / "queries.jsonl").write_text(
        json.dumps({"_id": "q", "text": LONG["long"][:40], "doc_ids": ["long"]})
    )

    found = evaluated(asked, labels(asked)[0], labels(asked)[1], "--recall-at", "1,3,100")

    (worst, *_) = found["quality"]["worst"] or [{"found": ["long"]}]
    assert len(worst["found"]) == len(set(worst["found"]))


def test_titles_are_queries_whose_documents_answer_them(asked: JobFolder) -> None:
    by_words = ("--from-titles", "topic", "--mode", "text", "--titles", "10")

    first = evaluated(asked, *by_words)
    again = evaluated(asked, *by_words)
    other = evaluated(asked, *by_words, "--seed", "1")
    refused = asked.on_collection("eval", "--from-titles", "nothing", expect=2)

    assert first["quality"]["num_queries"] == 10
    assert first["quality"]["source"] == "10 titles in 'topic' (seed 0)"
    assert first["quality"]["fingerprint"] == again["quality"]["fingerprint"]
    assert first["quality"]["fingerprint"] != other["quality"]["fingerprint"]
    assert "carries no text column 'nothing'" in refused.stderr
    assert "It has topic" in refused.stderr


def test_two_versions_are_compared_query_by_query_with_texts(asked: JobFolder) -> None:
    asked.run(*PLAIN, "--rebuild", "--document-instruction", "Sing")
    with asked.open_store() as store:
        name = store.versions.live(asked.collection)

    found = evaluated(asked, *labels(asked), "--against", "@v1")
    same = asked.on_collection("eval", *labels(asked), "--against", "@v2", expect=2)
    text = asked.on_collection(
        "eval", *labels(asked), "--against", f"{asked.collection}_v1", "--model", str(asked.model)
    ).stdout

    compared = found["comparison"]
    assert (compared["version"], compared["against"]) == (name, f"{asked.collection}_v1")
    assert compared["ndcg_against"] == 1.0
    assert compared["paired"]["losses"] + compared["paired"]["ties"] == 20
    assert compared["paired"]["p_value"] < 0.01
    assert len(compared["worst"]) == 10
    worst = compared["worst"][0]
    assert CORPUS[worst["expected"]["doc_id"]] == worst["expected"]["text"] == worst["text"]
    assert worst["found"]["text"]
    assert "is the version that is evaluated" in same.stderr
    assert "chance alone would hardly make it" in text


def test_what_is_not_there_counts_as_not_found_and_is_told(asked: JobFolder) -> None:
    with (asked.folder / "qrels.tsv").open("a") as file:
        file.write("q-d0\tgone\t1\n")

    found = evaluated(asked, *labels(asked))

    (note,) = found["notes"]
    assert note.startswith("1 of 21 documents that answer queries are not in ")
    assert note.endswith("count as not found: 'gone'")
    assert found["quality"]["measured"][0]["values"]["recall@10"]["mean"] == pytest.approx(
        (19 + 0.5) / 20
    )


def test_figures_are_printed_where_they_cannot_be_recorded(
    asked: JobFolder, tmp_path: Path
) -> None:
    with RunLock(asked.lock):
        beside = asked.on_collection("eval", *labels(asked), "--model", str(asked.model))
    elsewhere = asked.call(
        "eval", asked.collection, *labels(asked), "--milvus-uri", asked.uri, "--model",
        str(asked.model), "--state-dir", str(tmp_path / "other"),
    )  # fmt: skip

    assert "not recorded: " in beside.stderr
    assert "has left a ledger here, so that nothing is recorded" in elsewhere.stderr
    assert "nDCG@10" in beside.stdout
    with Ledger(asked.ledger) as ledger:
        assert list(ledger.figures.latest(kind="quality")) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "Give --queries, a --job that names some"),
        (("--from-titles", "topic", "--qrels", "x"), "leave out the files"),
        (("--queries", "nowhere.jsonl"), "cannot be read: No such file"),
        (("--from-titles", "topic", "--mode", "dense,sparse"), "--mode is some of"),
        (("--from-titles", "topic", "--dimensions", "64,x"), "--dimensions is numbers"),
        (("--from-titles", "topic", "--dimensions", "128"), "128 is not from 1 to 64"),
        (("--from-titles", "topic", "--against", "@v9"), "there is no collection"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_asked_is_a_sentence(
    asked: JobFolder, options: tuple[str, ...], complaint: str
) -> None:
    done = asked.on_collection("eval", *options, "--model", str(asked.model), expect=2)

    assert complaint in done.stderr


def test_without_the_extra_it_is_named(asked: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ir_measures", None)

    done = asked.on_collection("eval", *labels(asked), expect=2)

    assert "ir_measures is not installed" in done.stderr
    assert "pip install '.[eval]'" in done.stderr
