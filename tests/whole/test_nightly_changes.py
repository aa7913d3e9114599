"""What changes between two nights costs what it must and nothing more."""

import json
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest
from job_fixtures import JobFolder, hashes_of

from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.schemas.records import EmbeddedBatch

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps. " * (4 * n + 1) for n in range(6)}
ANY = ("--max-dead-letters", "100%")


def shuffle_the_rows(job: JobFolder) -> None:
    job.write(dict(sorted(CORPUS.items(), reverse=True)))


def cut_row_groups_anew(job: JobFolder) -> None:
    path = job.folder / "corpus" / "a.parquet"
    pq.write_table(pq.read_table(path), path, row_group_size=2)


def rename_the_file(job: JobFolder) -> None:
    path = job.folder / "corpus" / "a.parquet"
    path.rename(path.with_name("z.parquet"))


def move_half_to_another_file(job: JobFolder) -> None:
    job.write(dict(list(CORPUS.items())[:3]), file="b.parquet")
    job.write(dict(list(CORPUS.items())[3:]), file="a.parquet")


def change_carried_metadata(job: JobFolder) -> None:
    path = job.folder / "corpus" / "a.parquet"
    table = pq.read_table(path)
    topics = table["id"]
    pq.write_table(table.set_column(2, "topic", topics), path)


def put_a_row_in_front(job: JobFolder) -> None:
    job.write({"new": "A new text."} | CORPUS)


def stored(job: JobFolder) -> dict[str, StoredChunk]:
    with job.open_store() as store:
        rows = store.reader.iter_chunks(f"{job.collection}_v1", with_text=True)
        return {row.chunk_id: row for row in rows}


@pytest.mark.parametrize(
    ("change", "num_new"),
    [
        (shuffle_the_rows, 0),
        (put_a_row_in_front, 1),
        (cut_row_groups_anew, 0),
        (rename_the_file, 0),
        (move_half_to_another_file, 0),
    ],
)
@pytest.mark.parametrize("ledger_is_lost", [False, True])
def test_rows_that_only_moved_are_neither_embedded_nor_written(
    lite_job: JobFolder,
    change: Callable[[JobFolder], None],
    num_new: int,
    ledger_is_lost: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lite_job.write(CORPUS)
    lite_job.run("--carry", "topic")
    before = stored(lite_job)
    change(lite_job)
    if ledger_is_lost:
        lose_ledger(lite_job)
    written: list[str] = []
    upsert = MilvusStore.upsert

    def note(store: MilvusStore, version: str, batch: EmbeddedBatch) -> int:
        written.extend(chunk.document.doc_id for chunk in batch.chunks)
        return upsert(store, version, batch)

    monkeypatch.setattr(MilvusStore, "upsert", note)

    lite_job.run("--carry", "topic")
    last = lite_job.history()[0]

    assert written == ["new"] * num_new
    counts = tuple(last[f"num_{name}"] for name in ("new", "changed", "refreshed", "unchanged"))
    assert counts == (num_new, 0, 0, len(CORPUS))
    after = stored(lite_job)
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("ledger_is_lost", [False, True])
def test_other_metadata_of_the_same_texts_embeds_nothing(
    lite_job: JobFolder, ledger_is_lost: bool
) -> None:
    lite_job.write(CORPUS)
    lite_job.run("--carry", "topic")
    change_carried_metadata(lite_job)
    if ledger_is_lost:
        lose_ledger(lite_job)

    lite_job.run("--carry", "topic")
    last = lite_job.history()[0]

    assert (last["num_chunks_embedded"], last["num_changed"]) == (0, 0)
    assert last["num_refreshed"] > 0
    assert lite_job.doc_hashes("v1") == hashes_of(CORPUS)


def test_an_audit_calls_no_row_drift_because_its_document_moved(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run("--carry", "topic")
    shuffle_the_rows(lite_job)
    lite_job.run("--carry", "topic")
    _, *flags = lite_job.arguments("--carry", "topic", "--sample", "0", "--json")
    at = flags.index("--collection")

    done = lite_job.call("verify", lite_job.collection, *flags[:at], *flags[at + 2 :])

    assert json.loads(done.stdout)["drift"] == {}


def lose_ledger(job: JobFolder) -> None:
    for file in job.state.glob("*.ledger*"):
        file.unlink()


def test_texts_longer_than_milvus_holds_are_not_embedded_again_after_a_lost_ledger(
    lite_job: JobFolder,
) -> None:
    long = ("--max-tokens", "32768")
    text = "".join(f"Sentence {n} speaks of pumps and printers. " for n in range(6000))
    lite_job.write({"long": text})
    lite_job.run(*long)
    lose_ledger(lite_job)
    rename_the_file(lite_job)

    lite_job.run(*long)
    last = lite_job.history()[0]

    assert (last["num_chunks_embedded"], last["num_unchanged"]) == (0, 1)


def test_of_one_id_in_two_files_the_first_wins_every_night(lite_job: JobFolder) -> None:
    one, other = {"d": "One text."}, {"d": "Another text."}
    found = []
    for first, second in ((one, other), (other, one), (other, one)):
        lite_job.write(first, file="a.parquet")
        lite_job.write(second, file="b.parquet")
        lite_job.run(*ANY)
        found.append(lite_job.doc_hashes("v1"))

    assert found == [hashes_of(one), hashes_of(other), hashes_of(other)]


def test_a_row_that_is_bad_for_a_night_keeps_its_document(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    lite_job.write({**CORPUS, "d5": None})
    lite_job.run(*ANY, "--delete-missing", "--force")
    kept = lite_job.doc_hashes("v1")
    lite_job.write(CORPUS)

    lite_job.run()
    last = lite_job.history()[0]

    assert kept == hashes_of(CORPUS)
    assert (last["num_unchanged"], last["num_chunks_embedded"]) == (6, 0)
