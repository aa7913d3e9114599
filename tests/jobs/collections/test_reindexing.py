"""`embed-index reindex`, and the index that a run makes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from job_fixtures import JobFolder
from library_fixtures import DOCUMENTS

from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.milvus.indexes import MadeIndex


def index_of(job: JobFolder, version: str = "v1") -> MadeIndex | None:
    with job.open_store() as store:
        return store.versions.indexes.read(f"{job.collection}_{version}").vectors


def reindex(job: JobFolder, *more: str, expect: int = 0) -> dict[str, Any]:
    done = job.on_collection("reindex", "--json", *more, expect=expect)
    report: dict[str, Any] = json.loads(done.stdout) if expect == 0 else {"error": done.stderr}
    return report


def best(job: JobFolder, text: str) -> str:
    done = job.on_collection("search", text, "--json", "--limit", "1", "--model", str(job.model))
    return str(json.loads(done.stdout)[0]["doc_id"])


def test_a_run_makes_the_index_of_its_job(lite_job: JobFolder) -> None:
    lite_job.write(DOCUMENTS)
    lite_job.run("--index-type", "ivf_flat", "--index-params", "nlist=2", "--query-instruction", "")

    assert index_of(lite_job) == MadeIndex(milvus_type="IVF_FLAT", params={})
    assert best(lite_job, DOCUMENTS["pump"]) == "pump"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--index-type", "diskann"), "index_type: Milvus Lite has no diskann"),
        (("--index-type", "hnsw", "--index-params", "nlist=4"), "hnsw takes no nlist"),
        (("--index-params", "M=4"), "auto takes no M; it takes none"),
        (("--index-params", "M"), "must be NAME=NUMBER, such as M=32, not 'M'"),
        (("--index-params", "M=1", "--index-params", "M=2"), "must not name M twice"),
        (("--scalar-indexes", "lang"), "'lang' is no carried column; they are none"),
        (("--mmap",), "mmap: only a Milvus server maps files into memory"),
        (("--replicas", "2"), "replicas: only a Milvus server has replicas"),
        (("--resource-groups", "a"), "resource_groups: only a Milvus server has"),
        (("--resource-groups", "a b"), "must be letters, digits and underscores, not 'a b'"),
        (("--resource-groups", "a,b"), "resource_groups names 2 for 1 replicas"),
        (("--shards", "2"), "shards: only a Milvus server has shards"),
        (("--shards", "17"), "17"),
        (("--partition-key", "lang"), "'lang' is no carried column of text or integers"),
        (("--vector-type", "bfloat16"), "vector_type bfloat16: only a Milvus server searches"),
        (("--metric", "l2"), "'l2' is not one of 'cosine', 'ip'"),
    ],
)
def test_an_index_that_cannot_be_made_is_refused_before_the_first_document(
    lite_job: JobFolder, flags: tuple[str, ...], sentence: str
) -> None:
    lite_job.write(DOCUMENTS)
    num_embedded = lite_job.server.num_embedded

    refused = lite_job.run(*flags, expect=2)

    assert sentence in refused.stderr
    assert (lite_job.versions(), lite_job.server.num_embedded) == ([], num_embedded)


def test_another_index_needs_no_vectors(library_job: JobFolder) -> None:
    num_embedded = library_job.server.num_embedded
    done = library_job.on_collection("reindex", "--index-type", "hnsw")

    version = f"{library_job.collection}_v1"
    assert done.stdout.startswith(f"{version} has HNSW in ")
    assert done.stdout.endswith(" s, was FLAT\n")
    said = f"{version}, 16 rows: the vectors are indexed anew as hnsw; until it is done, searches"
    assert said in done.stderr
    assert library_job.server.num_embedded == num_embedded
    again = library_job.on_collection("reindex", "--index-type", "hnsw")
    assert (again.stdout, again.stderr) == (f"{version} has HNSW already\n", "")
    assert best(library_job, DOCUMENTS["pump"]) == "pump"


def test_filters_get_an_index_and_lose_it_without_a_touch_of_the_vectors(
    library_job: JobFolder,
) -> None:
    num_embedded = library_job.server.num_embedded
    version = f"{library_job.collection}_v1"

    made = library_job.on_collection("reindex", "--scalar-indexes", "topic")
    noticed = library_job.run("--carry", "topic", "--query-instruction", "")
    again = library_job.on_collection("reindex", "--scalar-indexes", "topic")
    gone = library_job.on_collection("reindex")

    assert made.stdout.startswith(f"{version} has FLAT, and over topic in ")
    assert f"{version}, 16 rows: topic indexed for filters; until it is done" in made.stderr
    assert "has the index FLAT, and over topic, and the job wants auto;" in noticed.stderr
    assert again.stdout == f"{version} has FLAT, and over topic already\n"
    assert "topic no longer" in gone.stderr
    assert library_job.server.num_embedded == num_embedded
    refused = reindex(library_job, "--scalar-indexes", "lang", expect=2)
    assert "scalar_indexes: 'lang' is no carried column; they are topic" in refused["error"]


def test_the_index_of_a_job_file_is_applied(library_job: JobFolder, tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text('[index]\nindex_type = "ivf_flat"\nindex_params = ["nlist=2"]\n')

    report = reindex(library_job, "--job", str(job))

    assert (report["before"], report["now"], report["changed"]) == ("FLAT", "IVF_FLAT", True)


def test_another_partition_key_needs_a_rebuild_and_takes_over_the_vectors(
    library_job: JobFolder,
) -> None:
    flags = ("--carry", "topic", "--query-instruction", "", "--partition-key", "topic")
    num_embedded = library_job.server.num_embedded

    in_run = library_job.run(*flags, expect=2)
    in_reindex = reindex(library_job, "--partition-key", "topic", expect=2)
    library_job.run(*flags, "--rebuild")

    for said in (in_run.stderr, in_reindex["error"]):
        assert "partition_key is '' there and 'topic' in this job" in said
    assert library_job.server.num_embedded == num_embedded
    with library_job.open_store() as store:
        version = f"{library_job.collection}_v2"
        assert store.versions.live(library_job.collection) == version
        assert store.versions.contract(version).partition_key == "topic"
        assert store.reader.count(version) == 16
    assert best(library_job, DOCUMENTS["pump"]) == "pump"
    _, *given = library_job.arguments(*flags)
    at = given.index("--collection")
    del given[at : at + 2]
    library_job.call("verify", library_job.collection, *given, "--max-tokens", "64")


def test_what_reindex_cannot_do_is_refused(library_job: JobFolder) -> None:
    unchanged = index_of(library_job)

    text = reindex(library_job, "--index-type", "hnsw", "--text-search", expect=2)
    disk = reindex(library_job, "--index-type", "diskann", expect=2)
    nowhere = reindex(replace(library_job, collection="nope"), expect=2)
    with RunLock(library_job.lock):
        held = reindex(library_job, "--index-type", "hnsw", expect=5)

    assert "text_analyzer is '' there and 'standard' in this job" in text["error"]
    assert "run --rebuild" in text["error"]
    assert "Milvus Lite has no diskann" in disk["error"]
    assert "there is no collection 'nope'" in nowhere["error"]
    assert "error" in held
    assert index_of(library_job) == unchanged


def test_a_run_whose_index_is_another_goes_on_and_says_so(library_job: JobFolder) -> None:
    done = library_job.run("--carry", "topic", "--query-instruction", "", "--index-type", "hnsw")

    assert "has the index FLAT, and the job wants hnsw" in done.stderr
    assert "embed-index reindex" in done.stderr
    assert index_of(library_job) == MadeIndex(milvus_type="FLAT", params={})
