"""Corpora as other programs leave them, from Parquet to a collection and back."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from job_fixtures import JobFolder

from embed_index.jobs.collections.opening import open_collection
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.capabilities import CAPABILITIES
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.schemas.ids import text_hash


def write(job: JobFolder, file: str, columns: Mapping[str, Any]) -> None:
    path = job.folder / "corpus" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path)


def stored(job: JobFolder, *, version: str = "v1") -> dict[str, StoredChunk]:
    with job.open_store() as store:
        rows = store.reader.iter_chunks(f"{job.collection}_{version}", with_text=True)
        return {row.doc_id: row for row in rows}


def test_what_spark_and_duckdb_leave_is_indexed_as_it_reads(lite_job: JobFolder) -> None:
    job, uuid = lite_job, UUID(int=7)
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.bytes], pa.binary(16)))
    body = pa.array([{"text": b"Pumps."}], pa.struct({"text": pa.binary()}))
    write(job, "lang=de/part-0.parquet", {"ID": ids, "doc": body, "made at": [3]})
    write(job, "lang=en/part-0.parquet", {"ID": ["b"], "doc": [{"text": "Printers."}]})
    flags = ("--text-column", "doc.text", "--carry", "lang,made at as made_at")

    said = job.run(*flags).stderr
    again = job.run(*flags)

    rows = stored(job)
    assert {doc_id: row.text for doc_id, row in rows.items()} == {
        str(uuid): "Pumps.",
        "b": "Printers.",
    }
    assert rows[str(uuid)].carried == {"lang": "de", "made_at": 3}
    assert rows["b"].carried["lang"] == "en"
    for notice in ("id is the column ID", "id holds UUIDs, as text", "as UTF-8", "lang=…"):
        assert notice in said
    assert "2 unchanged" in again.stdout


def test_lists_and_structs_are_carried_through_nights_audits_and_archives(
    lite_job: JobFolder, tmp_path: Path
) -> None:
    job = lite_job
    tags: list[list[str] | None] = [["ä", "b"], [], None]
    meta = [{"by": "Ada", "stars": [5, None]}, {"by": None, "stars": []}, None]
    columns = {"id": ["a", "b", "c"], "text": ["Pumps.", "Printers.", "Valves."]}
    write(job, "a.parquet", {**columns, "tags": pa.array(tags), "meta": pa.array(meta)})
    flags = ("--carry", "tags,meta", "--query-instruction", "")
    job.run(*flags)

    def carried() -> list[dict[str, Any]]:
        return [row.carried for _, row in sorted(stored(job).items())]

    expected = [{"tags": a, "meta": b} for a, b in zip(tags, meta, strict=True)]
    assert carried() == expected
    assert "3 unchanged" in job.run(*flags).stdout
    num_embedded = job.server.num_embedded
    meta[1] = {"by": "Bea", "stars": []}
    write(job, "a.parquet", {**columns, "tags": pa.array(tags), "meta": pa.array(meta)})
    assert "1 refreshed" in job.run(*flags).stdout
    expected[1]["meta"] = meta[1]
    assert (carried(), job.server.num_embedded) == (expected, num_embedded)

    _, *given = job.arguments(*flags)
    at = given.index("--collection")
    del given[at : at + 2]
    job.call("verify", job.collection, *given)
    found = json.loads(
        job.on_collection(
            *("search", "Pumps.", "--json", "--model", str(job.model)),
            *("--filter", 'array_contains(tags, "ä")'),
        ).stdout
    )
    assert [(hit["doc_id"], hit["carried"]) for hit in found] == [("a", expected[0])]
    with open_collection(
        job.collection,
        milvus_uri=job.uri,
        server_url=job.server.url,
        key=job.server.key,
        model=job.model,
        state_dir=job.state,
    ) as collection:
        (best,) = collection.search("Printers.", limit=1).as_arrow().to_pylist()
    assert (best["tags"], best["meta"]) == ([], '{"by":"Bea","stars":[]}')
    page = tmp_path / "report.html"
    job.on_collection("report", "--output", str(page))
    assert "Ada" in page.read_text(encoding="utf-8")

    archive = tmp_path / "archive"
    job.on_collection("export", "--to", str(archive))
    copy = replace(job, collection=f"{job.collection}_copy")
    copy.call(
        *("import", str(archive), "--collection", copy.collection),
        *("--milvus-uri", job.uri, "--state-dir", str(job.state)),
    )
    assert [row.carried for _, row in sorted(stored(copy).items())] == expected


def test_json_stays_text_where_it_was_until_a_rebuild(lite_job: JobFolder) -> None:
    job, text = lite_job, '{ "b": 1, "a": null }'
    columns = {"id": ["a"], "text": ["Pumps."]}
    flags = ("--carry", "meta")
    write(job, "a.parquet", {**columns, "meta": pa.array([text])})
    job.run(*flags)
    write(job, "a.parquet", {**columns, "meta": pa.array([text], pa.json_())})

    night = job.run(*flags)

    assert "1 unchanged" in night.stdout
    assert stored(job)["a"].carried == {"meta": text}
    num_embedded = job.server.num_embedded
    job.run(*flags, "--rebuild")
    assert stored(job, version="v2")["a"].carried == {"meta": {"a": None, "b": 1}}
    assert job.server.num_embedded == num_embedded
    assert "1 unchanged" in job.run(*flags).stdout


def test_a_corpus_without_ids_has_its_repeated_texts_counted(lite_job: JobFolder) -> None:
    job = lite_job
    write(job, "a.parquet", {"text": ["Pumps.", "Printers.", "Pumps."], "n": [1, 2, 3]})
    flags = ("--id-from", "text", "--carry", "n", "--max-dead-letters", "0")

    first = job.run(*flags)
    job.run(*flags)

    assert "2 new, 0 changed, 0 unchanged, 0 refreshed, 0 deleted, 1 repeated" in first.stdout
    last = job.history()[0]
    assert (last["num_unchanged"], last["num_repeated"], last["num_dead_letters"]) == (2, 1, 0)
    rows = stored(job)
    assert {row.text: row.carried["n"] for row in rows.values()} == {"Pumps.": 1, "Printers.": 2}
    assert set(rows) == {text_hash("Pumps."), text_hash("Printers.")}
    job.on_collection(
        "verify", "--input", str(job.folder / "corpus"), "--model", str(job.model), *flags[:4],
        "--max-tokens", "64", "--dimension", "64",
    )  # fmt: skip


def test_a_long_text_is_found_again_by_a_made_id(lite_job: JobFolder) -> None:
    job = lite_job
    long = "pumps and printers " * 5000
    write(job, "a.parquet", {"text": ["Short.", long]})
    job.run("--id-from", "place", "--max-tokens", "32768", "--model", str(job.model))

    corpus = job.folder / "corpus"
    with open_collection(
        job.collection, milvus_uri=job.uri, input=corpus, id_from="place"
    ) as collection:
        document = collection.document("a.parquet#1")

    assert document is not None
    assert document.text == long


def test_title_and_body_are_one_text_everywhere(lite_job: JobFolder) -> None:
    job, long = lite_job, "pumps and printers " * 5000
    write(job, "a.parquet", {"id": ["a", "b"], "title": ["On Pumps", None], "body": ["Run.", long]})
    flags = ("--text-column", "title", "--text-column", "body", "--max-tokens", "32768")

    job.run(*flags, "--model", str(job.model))
    again = job.run(*flags, "--model", str(job.model))

    assert "2 unchanged" in again.stdout
    assert stored(job)["a"].text == "On Pumps\n\nRun."
    corpus = job.folder / "corpus"
    with open_collection(
        job.collection, milvus_uri=job.uri, input=corpus, text_column=["title", "body"]
    ) as collection:
        documents = [collection.document(doc_id) for doc_id in "ab"]
    assert [x.text for x in documents if x is not None] == ["On Pumps\n\nRun.", long]
    verify = ("--input", str(corpus), "--model", str(job.model), "--dimension", "64", *flags)
    job.on_collection("verify", *verify)
    write(job, "a.parquet", {"id": ["a", "b"], "title": ["On Pipes", None], "body": ["Run.", long]})
    assert "1 changed, 1 unchanged" in job.run(*flags, "--model", str(job.model)).stdout
    assert stored(job)["a"].text == "On Pipes\n\nRun."


def test_null_stays_null_in_new_collections_and_what_it_was_in_old_ones(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = lite_job
    columns: dict[str, Any] = {
        "id": ["a", "b"],
        "text": ["Pumps.", "Printers."],
        "lang": ["de", None],
        "n": pa.array([0, None], pa.int64()),
    }
    write(job, "a.parquet", columns)
    flags = ("--carry", "lang,n")
    with monkeypatch.context() as before_there_was_null:
        before_there_was_null.setitem(
            CAPABILITIES, "null", replace(CAPABILITIES["null"], embedded=False)
        )
        said = job.run(*flags).stderr
    assert "lang is null in 1 row," in said

    again = job.run(*flags)

    assert "2 unchanged" in again.stdout
    assert stored(job)["b"].carried == {"lang": "", "n": 0}

    rebuilt = job.run(*flags, "--rebuild")

    assert "is null in" not in rebuilt.stderr
    rows = stored(job, version="v2")
    assert rows["a"].carried == {"lang": "de", "n": 0}
    assert rows["b"].carried == {"lang": None, "n": None}
    assert "2 unchanged" in job.run(*flags).stdout
    found = [
        job.on_collection(
            "search", "pumps", "--filter", where, "--json", "--model", str(job.model)
        ).stdout
        for where in ("n is null", "n == 0")
    ]
    assert [[hit["doc_id"] for hit in json.loads(text)] for text in found] == [["b"], ["a"]]
    verify = ("--input", str(job.folder / "corpus"), "--model", str(job.model), *flags,
              "--max-tokens", "64", "--dimension", "64")  # fmt: skip
    job.on_collection("verify", *verify)
    columns["n"] = pa.array([None, None], pa.int64())
    write(job, "a.parquet", columns)
    assert "1 refreshed" in job.run(*flags).stdout
    job.on_collection("verify", *verify)


def test_a_first_look_at_a_corpus_deletes_nothing_and_is_gone_on_with(lite_job: JobFolder) -> None:
    job = lite_job
    texts = [f"Text number {n}." for n in range(9)]
    write(
        job,
        "a.parquet",
        {"id": [f"d{n}" for n in range(9)], "text": [*texts[:1], None, *texts[2:]]},
    )
    write(job, "b.parquet", {"id": ["e"], "text": ["Another file."]})
    flags = ("--max-dead-letters", "5", "--delete-missing", "--max-delete-share", "1")

    looked = job.run(*flags, "--limit", "3")

    assert "3 new" in looked.stdout
    assert stored(job).keys() == {"d0", "d2", "d3"}
    assert job.live() == f"{job.collection}_v1"
    assert job.history()[0]["outcome"] == "partial"
    with Ledger(job.ledger) as ledger:
        assert ledger.runs.last_success() is None

    whole = job.run(*flags)

    assert "6 new, 0 changed, 3 unchanged" in whole.stdout
    again = job.run(*flags, "--limit", "1")
    assert "1 unchanged, 0 refreshed, 0 deleted" in again.stdout
    assert len(stored(job)) == 9
    assert job.run(*flags, "--limit", "1", "--rebuild", expect=2).stderr.startswith("error: ")


def test_what_a_condition_leaves_out_is_not_missing(lite_job: JobFolder) -> None:
    job = lite_job
    columns = {
        "id": ["a", "b", "c"],
        "text": ["One.", "Two.", "Three."],
        "lang": ["de", "en", "de"],
    }
    write(job, "a.parquet", columns)
    job.run()
    write(job, "a.parquet", {"id": ["a", "b"], "text": ["One.", "Two!"], "lang": ["de", "en"]})
    deleting = ("--delete-missing", "--max-delete-share", "1", "--where", "lang == 'de'")

    done = job.run(*deleting)

    assert "1 unchanged, 0 refreshed, 1 deleted" in done.stdout
    assert "where: left out 1 row;" in done.stderr
    assert {row.text for row in stored(job).values()} == {"One.", "Two."}
    refused = job.run("--where", "language == 'de'", expect=2)
    assert "no column 'language'" in refused.stderr
    verify = ("--input", str(job.folder / "corpus"), "--model", str(job.model), *deleting,
              "--max-tokens", "64", "--dimension", "64")  # fmt: skip
    job.on_collection("verify", *verify)
