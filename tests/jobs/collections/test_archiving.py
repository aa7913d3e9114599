"""`embed-index export` and `import`: another dimension, another Milvus, no embedding server."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hash_embedding_server import HashEmbeddingServer
from job_fixtures import JobFolder, hashes_of
from milvus_fixtures import slow_on_server

from embed_index.jobs.collections import archiving
from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.pipeline.milvus.versions import CollectionVersions
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.records import Vectors

CORPUS = {f"d{n}": f"Text number {n} speaks of pumps. " * (4 * n + 1) for n in range(6)}


def export(job: JobFolder, *more: str, expect: int = 0) -> dict[str, Any]:
    to = ("--to", str(job.folder / "archive"))
    done = job.on_collection("export", *to, "--json", *more, expect=expect)
    report: dict[str, Any] = json.loads(done.stdout) if expect == 0 else {"error": done.stderr}
    return report


def bring_in(job: JobFolder, archive: Path, *more: str, expect: int = 0) -> dict[str, Any]:
    """Import where no embedding server can be reached."""
    arguments = ["import", str(archive), "--collection", job.collection, "--milvus-uri", job.uri]
    done = job.call(
        *arguments, "--state-dir", str(job.state), "--json", *more,
        expect=expect, environment={"EMBEDDING_API_BASE": "http://127.0.0.1:9"},
    )  # fmt: skip
    report: dict[str, Any] = json.loads(done.stdout) if expect == 0 else {"error": done.stderr}
    return report


def elsewhere(job: JobFolder, collection: str = "copy") -> JobFolder:
    """The same corpus, for a collection of another Milvus and another state folder."""
    folder = job.folder / "elsewhere"
    folder.mkdir(exist_ok=True)
    if not (folder / "corpus").exists():
        (folder / "corpus").symlink_to(job.folder / "corpus")
    return replace(job, folder=folder, uri=str(folder / "other.db"), collection=collection)


def rows_of(job: JobFolder, version: str = "v1") -> dict[str, StoredChunk]:
    with job.open_store() as store:
        chunks = store.reader.iter_chunks(
            f"{job.collection}_{version}", with_text=True, with_vectors=True
        )
        return {chunk.chunk_id: chunk for chunk in chunks}


def without_vector(rows: dict[str, StoredChunk]) -> dict[str, StoredChunk]:
    return {key: replace(row, vector=None) for key, row in rows.items()}


def vectors(rows: dict[str, StoredChunk]) -> Vectors:
    stacked: Vectors = np.stack([rows[key].vector for key in sorted(rows)])  # type: ignore[misc]
    return stacked


def test_a_copy_at_another_dimension_equals_a_fresh_one_and_the_night_after_embeds_nothing(
    job: JobFolder,
) -> None:
    job.write(CORPUS)
    job.run("--carry", "topic")
    fresh = replace(job, collection=f"{job.collection}_f")
    fresh.run("--carry", "topic", "--dimension", "32")
    copy = elsewhere(job)

    exported = export(job)
    imported = bring_in(copy, Path(exported["folder"]), "--dimension", "32")
    num_requests = job.server.num_requests
    copy.run("--carry", "topic", "--dimension", "32", "--delete-missing")
    night = copy.history()[0]

    assert (exported["dimension"], exported["num_documents"]) == (64, len(CORPUS))
    assert (imported["dimension"], imported["archived_dimension"]) == (32, 64)
    assert copy.live() == "copy_v1"
    assert without_vector(rows_of(copy)) == without_vector(rows_of(job))
    cosines = (vectors(rows_of(copy)) * vectors(rows_of(fresh))).sum(axis=1)
    assert cosines.min() >= 0.9999
    assert (night["num_unchanged"], night["num_tokens"]) == (len(CORPUS), 0)
    assert (night["num_deleted"], night["num_missing"]) == (0, 0)
    assert job.server.num_requests == num_requests


def test_the_night_after_embeds_only_what_changed(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run("--carry", "topic")
    copy = elsewhere(lite_job)
    bring_in(copy, Path(export(lite_job)["folder"]), "--dimension", "32")
    changed = dict(CORPUS) | {"d5": CORPUS["d5"] + "One more sentence.", "new": "A new one."}
    del changed["d0"]
    lite_job.write(changed)

    copy.run("--carry", "topic", "--dimension", "32", "--delete-missing", "--force")
    night = copy.history()[0]

    assert (night["num_new"], night["num_changed"], night["num_deleted"]) == (1, 1, 1)
    assert night["num_unchanged"] == len(CORPUS) - 2
    assert night["num_chunks_embedded"] <= 3
    assert night["num_chunks_reused"] > 0
    assert copy.doc_hashes("v1") == hashes_of(changed)


def test_canaries_are_cut_below_their_own_width_and_other_servers_are_still_noticed(
    lite_job: JobFolder,
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    copy = elsewhere(lite_job)
    bring_in(copy, Path(export(lite_job)["folder"]), "--dimension", "40")
    lite_job.write(CORPUS | {"new": "One more document."})

    with HashEmbeddingServer(salt="other") as other:
        refused = replace(copy, server=other).run("--dimension", "40", expect=2)
    copy.run("--dimension", "40")

    assert "gives the canary texts other vectors" in refused.stderr
    assert copy.history()[0]["num_chunks_embedded"] == 1


LONG = "".join(
    f"Sentence {n:06} of a document whose chunks Milvus cannot hold. " for n in range(2400)
)


def test_a_text_that_milvus_cut_is_still_told_from_another_one(lite_job: JobFolder) -> None:
    lite_job.write({"long": LONG, "short": "Short."})
    wide = ("--max-tokens", "30000")
    lite_job.run(*wide)
    copy = elsewhere(lite_job)
    bring_in(copy, Path(export(lite_job)["folder"]), "--dimension", "32")
    cut = [not row.text_complete for row in rows_of(copy).values()]
    # The last chunk changes, those before it do not.
    lite_job.write({"long": LONG + "The end.", "short": "Short."})

    copy.run(*wide, "--dimension", "32")
    night = copy.history()[0]

    assert sum(cut) >= 2
    assert (night["num_changed"], night["num_chunks_embedded"]) == (1, 1)
    assert night["num_chunks_reused"] == len(cut) - 2


def test_chunks_that_cannot_be_embedded_stay_known(
    lite_job: JobFolder, tokenizer: ModelTokenizer
) -> None:
    dead = tokenizer.encode_for_model("Dead.").tolist()
    with HashEmbeddingServer() as server:
        job = replace(lite_job, server=server)
        server.refuse(lambda ids: ids == dead)
        job.write(CORPUS | {"dead": "Dead."})
        job.run("--max-dead-letters", "10")
        before = job.history()[0]
        copy = elsewhere(job)
        bring_in(copy, Path(export(job)["folder"]))

        copy.run("--max-dead-letters", "10")
        night = copy.history()[0]
        server.refuse(lambda _: False)
        copy.on_collection("retry", "--job", str(job_file(copy)))

    assert before["num_dead_letters"] > 0
    assert night["num_dead_letters"] == before["num_dead_letters"]
    assert (night["num_tokens"], night["num_unchanged"]) == (0, len(CORPUS) + 1)
    assert "Dead." in {row.text for row in rows_of(copy).values()}


def job_file(job: JobFolder) -> Path:
    path = job.folder / "job.toml"
    path.write_text(
        f'[source]\ninput = "{job.folder / "corpus"}"\n[model]\nmodel = "{job.model}"\n'
        f'dimension = 64\n[chunking]\nmax_tokens = 64\n[milvus]\ncollection = "{job.collection}"\n'
        f'uri = "{job.uri}"\n[run]\nstate_dir = "{job.state}"\n'
    )
    return path


def test_a_collection_that_exists_gets_a_new_version_and_keeps_the_old_one(
    lite_job: JobFolder,
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    folder = Path(export(lite_job)["folder"])
    lite_job.write(CORPUS | {"new": "One more document."})
    lite_job.run()

    imported = bring_in(lite_job, folder, "--max-delete-share", "0.5", "--dimension", "48")
    lite_job.run("--dimension", "48")

    assert imported["version"] == lite_job.live() == f"{lite_job.collection}_v2"
    assert lite_job.versions() == ["v1", "v2"]
    assert lite_job.history()[0]["num_new"] == 1
    assert lite_job.doc_hashes("v2") == lite_job.doc_hashes("v1")


def test_a_much_smaller_archive_does_not_go_live_unasked(lite_job: JobFolder) -> None:
    lite_job.write({"d0": "One."})
    lite_job.run()
    folder = Path(export(lite_job)["folder"])
    lite_job.write(CORPUS)
    lite_job.run()

    refused = bring_in(lite_job, folder, expect=2)
    live, versions = lite_job.live(), lite_job.versions()
    bring_in(lite_job, folder, "--force")

    assert "5 of 6 documents of" in refused["error"]
    assert live == f"{lite_job.collection}_v1"
    # What was refused is dropped by the one that is not.
    assert (versions, lite_job.versions()) == (["v1", "v2"], ["v1", "v2"])
    assert lite_job.live() == f"{lite_job.collection}_v2"


class Killed(BaseException):
    """Stands for a process that dies at this moment: nothing is tidied up after it."""


STEPS = {
    "created": (CollectionVersions, "create", True),
    "half written": (MilvusStore, "upsert_block", True),
    "written": (MilvusStore, "flush", False),
    "in the ledger": (DocumentLedger, "replace_all", True),
    "checked": (CollectionVersions, "set_live", False),
    "live": (CollectionVersions, "set_live", True),
    "marked": (Ledger, "mark_live", True),
}


def die_at(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    place, name, afterwards = STEPS[step]
    method = getattr(place, name)

    def die(*args: Any, **kwargs: Any) -> None:
        if afterwards:
            method(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(place, name, die)


def import_and_die(
    job: JobFolder, archive: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    settings = job.settings.model_copy(update={"dimension": 32})
    with monkeypatch.context() as dying:
        die_at(dying, step)
        with pytest.raises(Killed):
            archiving.import_collection(settings, folder=archive, tell=print)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("exists", [False, True], ids=["new", "beside a live one"])
def test_an_import_that_dies_is_settled_by_the_next_one(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch, step: str, exists: bool
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    folder = Path(export(lite_job)["folder"])
    target = lite_job if exists else elsewhere(lite_job)

    import_and_die(target, folder, monkeypatch, step)
    between = target.live()
    bring_in(target, folder, "--dimension", "32")

    is_live = step in ("live", "marked")
    first, second = ("v2", "v3") if exists else ("v1", "v2")
    before = f"{target.collection}_v1" if exists else None
    assert between == (f"{target.collection}_{first}" if is_live else before)
    assert target.live() == f"{target.collection}_{second if is_live else first}"
    assert target.versions()[-1] == (second if is_live else first)
    assert target.doc_hashes(target.versions()[-1]) == hashes_of(CORPUS)


@pytest.mark.parametrize("step", STEPS)
def test_an_import_that_dies_is_settled_by_the_next_run(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    copy = elsewhere(lite_job)

    import_and_die(copy, Path(export(lite_job)["folder"]), monkeypatch, step)
    copy.run("--dimension", "32")
    night = copy.history()[0]

    assert (copy.live(), copy.versions()) == ("copy_v1", ["v1"])
    assert copy.doc_hashes("v1") == hashes_of(CORPUS)
    assert (night["num_tokens"] == 0) is (step != "created")


@slow_on_server
def test_an_export_of_a_lost_ledger_is_whole_and_leaves_none_behind(job: JobFolder) -> None:
    job.write(CORPUS)
    job.run()
    job.ledger.unlink()
    copy = elsewhere(job)

    bring_in(copy, Path(export(job)["folder"]))
    copy.run()

    assert not job.ledger.exists()
    assert copy.history()[0]["num_unchanged"] == len(CORPUS)
    assert [x for x in job.state.iterdir() if x.name.startswith("export-")] == []


def test_a_collection_that_is_not_whole_is_not_exported(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    with lite_job.open_store() as store:
        version = f"{lite_job.collection}_v1"
        store.delete_chunks(version, [next(store.reader.iter_keys(version)).chunk_id])

    refused = export(lite_job, expect=4)

    assert "is not whole: it has" in refused["error"]
    assert f"verify {lite_job.collection} --repair" in refused["error"]
    assert list((lite_job.folder / "archive").iterdir()) == []


@pytest.mark.parametrize("command", ["export", "import"])
def test_nothing_is_copied_beside_a_run(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("embed_index.pipeline.disk.lock._PATIENCE_SECONDS", 0.0)
    lite_job.write(CORPUS)
    lite_job.run()
    folder = Path(export(lite_job)["folder"])

    with RunLock(lite_job.lock):
        if command == "export":
            export(lite_job, "--replace", expect=5)
        else:
            bring_in(lite_job, folder, expect=5)

    assert lite_job.versions() == ["v1"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--dimension", "128"), "dimension: 128 is wanted, and the vectors of"),
        (("--index-type", "diskann"), "Milvus Lite has no diskann"),
        (("--text-search", "--text-analyzer", "english"), "english"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_made_is_refused_before_anything_is(
    lite_job: JobFolder, flags: tuple[str, ...], sentence: str
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    copy = elsewhere(lite_job)

    refused = bring_in(copy, Path(export(lite_job)["folder"]), *flags, expect=2)

    assert sentence in refused["error"]
    assert copy.versions() == []


def test_a_damaged_archive_makes_no_version(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    folder = Path(export(lite_job)["folder"])
    (folder / "chunks-00001.parquet").write_bytes(b"PAR1")

    refused = bring_in(lite_job, folder, expect=2)

    assert "chunks-00001.parquet has 4 bytes" in refused["error"]
    assert lite_job.versions() == ["v1"]


def test_text_search_can_be_added_to_a_copy(lite_job: JobFolder) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    copy = elsewhere(lite_job)

    bring_in(copy, Path(export(lite_job)["folder"]), "--text-search")
    found = copy.on_collection("search", "pumps", "--mode", "text", "--json", "--limit", "1")
    copy.run("--text-search")

    assert json.loads(found.stdout)[0]["score"] > 0
    assert copy.history()[0]["num_unchanged"] == len(CORPUS)
