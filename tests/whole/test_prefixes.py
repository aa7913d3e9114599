"""Chunks that are embedded with their document's title and their headings before them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from job_fixtures import JobFolder

from embed_index.jobs.collections.opening import open_collection
from embed_index.pipeline.milvus.stored import StoredChunk

LONG = "# Cleaning\n\n" + "The pump runs. " * 40 + "\n\n# Repair\n\n" + "It was replaced. " * 40
FLAGS = ("--prefix-columns", "Head line as title", "--prefix-headings", "--carry", "lang")


def write(job: JobFolder, **columns: Any) -> None:
    path = job.folder / "corpus" / "a.parquet"
    path.parent.mkdir(exist_ok=True)
    table = {
        "id": ["a", "b", "c"],
        "text": ["Run.", LONG, "Stop."],
        "Head line": ["On Pumps", "A manual", None],
        "lang": ["en"] * 3,
    }
    pq.write_table(pa.table(table | columns), path)


def stored(job: JobFolder, version: str = "v1") -> list[StoredChunk]:
    with job.open_store() as store:
        rows = store.reader.iter_chunks(f"{job.collection}_{version}", with_text=True)
        return sorted(rows, key=lambda row: (row.doc_id, row.chunk_index))


def counts(job: JobFolder) -> dict[str, int]:
    """Return what the last run counted, but for what was none."""
    names = ("new", "changed", "unchanged", "refreshed", "chunks_embedded", "chunks_reused")
    found = {name: job.history()[0][f"num_{name}"] for name in names}
    return {name: count for name, count in found.items() if count}


def verify(job: JobFolder, *more: str) -> None:
    """Have every vector made again of the corpus, and compared."""
    _, *flags = job.arguments(*FLAGS)
    at = flags.index("--collection")
    del flags[at : at + 2]
    job.call("verify", job.collection, *flags, "--sample", "1000", *more)


@pytest.fixture
def prefixed(lite_job: JobFolder) -> JobFolder:
    write(lite_job)
    lite_job.run(*FLAGS)
    return lite_job


def test_rows_hold_the_documents_own_text_and_vectors_are_of_more(prefixed: JobFolder) -> None:
    rows = stored(prefixed)

    assert "".join(row.text or "" for row in rows if row.doc_id == "b") == LONG
    assert all(row.text == LONG[row.char_start : row.char_end] for row in rows[1:-1])
    assert [row.carried for row in rows[:: len(rows) - 1]] == [
        {"lang": "en", "title": "On Pumps"},
        {"lang": "en", "title": None},
    ]
    verify(prefixed)
    where = ("--milvus-uri", prefixed.uri, "--json")
    said = prefixed.call("describe", prefixed.collection, *where).stdout
    described = json.loads(said)["contract"]
    assert (described["prefix_columns"], described["prefix_headings"]) == (["title"], True)
    assert described["format_version"] == 3
    with open_collection(prefixed.collection, milvus_uri=prefixed.uri) as collection:
        document = collection.document("b")
    assert document is not None
    assert document.text == LONG


def test_another_title_embeds_its_document_and_other_metadata_nothing(prefixed: JobFolder) -> None:
    num_rows = len(stored(prefixed))
    write(prefixed, lang=["de"] * 3)
    prefixed.run(*FLAGS)
    assert counts(prefixed) == {"refreshed": 3, "chunks_reused": num_rows}

    write(prefixed, lang=["de"] * 3, **{"Head line": ["On Pipes", "A manual", "Now one"]})
    planned = json.loads(
        prefixed.call("plan", *prefixed.arguments(*FLAGS)[1:], "--format", "json").stdout
    )
    prefixed.run(*FLAGS)

    assert counts(prefixed) == {"changed": 2, "unchanged": 1, "chunks_embedded": 2}
    assert planned["chunks"]["value"] == 2
    assert [row.carried["title"] for row in stored(prefixed)[:: num_rows - 1]] == [
        "On Pipes",
        "Now one",
    ]
    verify(prefixed)


def test_another_heading_embeds_the_chunks_below_it(prefixed: JobFolder) -> None:
    below = [row for row in stored(prefixed) if row.char_start > LONG.index("# Repair")]
    write(prefixed, text=["Run.", LONG.replace("# Repair", "# Mending"), "Stop."])
    prefixed.run(*FLAGS)

    found = counts(prefixed)
    assert found["changed"] == 1
    assert len(below) <= found["chunks_embedded"] <= len(below) + 1
    assert found["chunks_reused"] > 0
    verify(prefixed)


@pytest.mark.parametrize("title", ["A manual", "Another"])
def test_a_lost_ledger_does_not_say_what_stood_before_a_chunk(
    prefixed: JobFolder, title: str
) -> None:
    prefixed.ledger.unlink()
    write(prefixed, **{"Head line": ["On Pumps", title, None]}, lang=["en", "fr", "en"])
    prefixed.run(*FLAGS)

    assert counts(prefixed)["unchanged"] == 2
    verify(prefixed)


def test_repairs_and_rebuilds_take_over_what_was_made_of_the_same(prefixed: JobFolder) -> None:
    _, gone, *_ = rows = stored(prefixed)
    num_rows = len(rows)
    with prefixed.open_store() as store:
        store.delete_chunks(f"{prefixed.collection}_v1", [gone.chunk_id])
    verify(prefixed, "--repair")
    assert prefixed.history()[0]["num_chunks_embedded"] == 1

    write(prefixed, **{"Head line": ["On Pipes", "A manual", None]}, year=[1, 2, 3])
    prefixed.run(*FLAGS, "--carry", "year", "--rebuild")

    assert counts(prefixed) == {
        "new": 3, "chunks_embedded": 1, "chunks_reused": num_rows - 1,
    }  # fmt: skip


def test_a_collection_with_prefixes_is_not_gone_on_with_without(prefixed: JobFolder) -> None:
    refused = prefixed.run(*FLAGS[:2], expect=2)

    assert "prefix_headings is True there and False in this job" in refused.stderr


def test_chunk_shows_what_the_model_sees_before_each(prefixed: JobFolder, tmp_path: Path) -> None:
    _, *flags = prefixed.arguments(*FLAGS)
    for name in ("--collection", "--milvus-uri", "--dimension"):
        at = flags.index(name)
        del flags[at : at + 2]

    shown = json.loads(prefixed.call("chunk", "--id", "b", *flags, "--format", "json").stdout)
    page = prefixed.call("chunk", "--id", "b", *flags).stdout

    assert shown["chunks"][-1]["prefix"] == "A manual\nRepair\n\n"
    assert "tokens\n── seen before it: A manual | Repair\nIt was replaced." in page
    assert [x["num_tokens"] for x in shown["chunks"]] == [
        row.num_tokens for row in stored(prefixed) if row.doc_id == "b"
    ]
