"""Nights whose corpus is in an object store that stalls, drops connections and refuses."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from job_fixtures import JobFolder, hashes_of
from object_store import KEY_ID, SECRET, Asked, Fault, FaultyProxy, ObjectStore, faulty_proxy

TEXTS = {f"d{number}": f"The text of document {number}." for number in range(20)}


def stored(job: JobFolder, object_store: ObjectStore, bucket: str) -> Callable[..., Result]:
    """Put the job's corpus into a bucket; return what gives a command on it."""
    object_store.put_tree(bucket, job.folder / "corpus", under="corpus")

    def give(
        proxy: FaultyProxy, *command: str, more: tuple[str, ...] = (), expect: int = 0
    ) -> Result:
        address = f"s3://{bucket}/corpus"
        _, *given = job.arguments("--source-endpoint", proxy.url, *more)
        flags = [address if part == str(job.folder / "corpus") else part for part in given]
        if command[0] == "verify":
            at = flags.index("--collection")
            del flags[at : at + 2]
        return job.call(*command, *flags, expect=expect)

    return give


def once_each(*kinds: Fault) -> Callable[[Asked], Fault | None]:
    """Each request fails when it is first made, in one way after another."""
    seen: set[Asked] = set()

    def choose(asked: Asked) -> Fault | None:
        if asked in seen:
            return None
        seen.add(asked)
        return kinds[len(seen) % len(kinds)]

    return choose


def test_a_night_through_faults_ends_as_on_a_disk_and_tells_no_key(
    lite_job: JobFolder, object_store: ObjectStore, bucket: str
) -> None:
    job = lite_job
    job.write({name: TEXTS[name] for name in list(TEXTS)[:10]}, file="a.parquet")
    job.write({name: TEXTS[name] for name in list(TEXTS)[10:]}, file="b.parquet")
    give = stored(job, object_store, bucket)

    with faulty_proxy(object_store, once_each("reset", "503", "cut")) as proxy:
        outputs = [give(proxy, "run", more=("--delete-missing",)).output]
        assert proxy.done.keys() == {"reset", "503", "cut"}
        assert job.doc_hashes("v1") == hashes_of(TEXTS)
        with job.open_store() as store:
            keys = [*store.reader.iter_keys(f"{job.collection}_v1")]
            (chunk, *_) = store.reader.fetch_document(f"{job.collection}_v1", keys[0].doc_id)
        assert chunk.source.startswith(f"s3://{bucket}/corpus/")
        proxy.asked.clear()
        outputs.append(give(proxy, "run").output)
        # ETags say that nothing changed.
        assert not [asked for asked in proxy.asked if asked.is_read]
        outputs.append(give(proxy, "verify", job.collection).output)

    assert job.history()[0]["num_unchanged"] == len(TEXTS)
    left = [file.read_bytes() for file in job.folder.rglob("*") if file.is_file()]
    for secret in (KEY_ID, SECRET):
        assert not [output for output in outputs if secret in output]
        assert not [content for content in left if secret.encode() in content]


@pytest.mark.parametrize(("kind", "expect"), [("403", 2), ("301", 2), ("unknown key", 4)])
def test_a_place_that_may_not_be_listed_deletes_nothing(
    lite_job: JobFolder, object_store: ObjectStore, bucket: str, kind: Fault, expect: int
) -> None:
    job = lite_job
    for name in ("d1", "d2"):
        job.write({name: TEXTS[name]}, file=f"{name}/a.parquet")
    give = stored(job, object_store, bucket)

    with faulty_proxy(object_store) as proxy:
        give(proxy, "run")
    flags = ("--delete-missing", "--force", "--max-delete-share", "1")
    with faulty_proxy(object_store, lambda x: kind if "d2%2F" in x.target else None) as proxy:
        refused = give(proxy, "run", more=flags, expect=expect)

    assert f"s3://{bucket}/corpus/d2" in refused.stderr
    assert job.doc_hashes("v1").keys() == {"d1", "d2"}


def test_what_is_no_longer_in_the_store_is_deleted(
    lite_job: JobFolder, object_store: ObjectStore, bucket: str
) -> None:
    job = lite_job
    for name in ("d1", "d2"):
        job.write({name: TEXTS[name]}, file=f"{name}.parquet")
    give = stored(job, object_store, bucket)

    with faulty_proxy(object_store) as proxy:
        give(proxy, "run")
        object_store.delete(bucket, "corpus/d2.parquet")
        give(proxy, "run", more=("--delete-missing", "--force"))

    assert job.doc_hashes("v1").keys() == {"d1"}


def test_other_commands_read_from_it(
    lite_job: JobFolder,
    object_store: ObjectStore,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = lite_job
    job.write({"long": "A sentence of a long text. " * 200, **TEXTS})
    stored(job, object_store, bucket)
    address = f"s3://{bucket}/corpus"
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store.url)
    corpus = ("--input", address, "--model", str(job.model), "--state-dir", str(job.state))
    where = ("--collection", job.collection, "--milvus-uri", job.uri)

    draft = job.call("init", address, "--output", "-").stdout
    doctor = job.call("doctor", *corpus, *where, "--dimension", "64").output
    plan = job.call("plan", *corpus, *where, "--format", "json").stdout
    chunk = job.call("chunk", "--id", "long", *corpus, "--format", "json").stdout

    assert f'input = "{address}"\nendpoint = "{object_store.url}"\n' in draft
    assert 'collection = "corpus"' in draft
    assert "21 rows in 1 file, with id, text" in doctor
    assert json.loads(plan)["documents"]["num_new"] == 21
    assert len(json.loads(chunk)["chunks"]) > 1


def test_doctor_says_what_keeps_a_corpus_from_being_read(
    lite_job: JobFolder, object_store: ObjectStore, bucket: str
) -> None:
    object_store.put(bucket, "corpus/a.parquet", b"")
    with faulty_proxy(object_store, lambda x: "403" if x.is_listing else None) as proxy:
        flags = ("--input", f"s3://{bucket}/corpus", "--source-endpoint", proxy.url)
        done = lite_job.call("doctor", *flags, "--model", str(lite_job.model), expect=2)

    assert f"s3://{bucket}/corpus may not be read with these credentials" in done.output
    assert "s3:ListBucket" in done.output
