"""A corpus of which less can be seen than the night before: files, rows or values."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
from job_fixtures import JobFolder

BOTH = {"a": "a text", "b": "another text"}


def test_a_link_to_nowhere_deletes_nothing(lite_job: JobFolder) -> None:
    lite_job.write({"a": BOTH["a"]}, file="a.parquet")
    lite_job.write({"b": BOTH["b"]}, file="b.parquet")
    lite_job.run()
    file = lite_job.folder / "corpus" / "b.parquet"
    file.rename(lite_job.folder / "elsewhere.parquet")
    file.symlink_to(lite_job.folder / "unmounted" / "b.parquet")

    stopped = lite_job.run("--delete-missing", "--force", expect=2)

    assert "b.parquet is a link to" in stopped.stderr
    assert lite_job.doc_hashes("v1").keys() == BOTH.keys()
    file.unlink()
    lite_job.run("--delete-missing", "--force")
    assert lite_job.doc_hashes("v1").keys() == {"a"}


def test_leftovers_are_told_in_a_notice(lite_job: JobFolder) -> None:
    lite_job.write(BOTH)
    lite_job.write({"old": "the draft of a text"}, file=".draft.parquet")

    done = lite_job.run()

    assert "begin with '_' or '.': 1," in done.stderr
    assert lite_job.doc_hashes("v1").keys() == BOTH.keys()


def test_a_column_that_lost_all_its_values_keeps_its_type(lite_job: JobFolder) -> None:
    file = lite_job.folder / "corpus" / "a.parquet"
    file.parent.mkdir()
    columns = {"id": ["a", "b"], "text": list(BOTH.values())}
    pq.write_table(pa.table(columns | {"severity": [3, 4]}), file)
    lite_job.run("--carry", "severity")
    pq.write_table(pa.table(columns | {"severity": pa.nulls(2)}), file)

    done = lite_job.run("--carry", "severity")

    assert "2 refreshed" in done.stderr + done.stdout
    with lite_job.open_store() as store:
        (column,) = store.versions.carried(f"{lite_job.collection}_v1")
    assert (column.name, column.type) == ("severity", "integer")


def test_a_night_that_sees_fewer_than_half_of_the_files_deletes_nothing(
    lite_job: JobFolder,
) -> None:
    job, names = lite_job, "abcde"
    for name in names:
        job.write({name: f"The text of {name}."}, file=f"{name}.parquet")
    flags = ("--delete-missing", "--max-delete-share", "1")
    job.run(*flags)
    for name in "cde":
        (job.folder / "corpus" / f"{name}.parquet").unlink()

    # A night that failed is no measure for the next one.
    for _ in range(2):
        refused = job.run(*flags, expect=2)
        assert "the corpus has 2 files, and had 5 when it was last read" in refused.stderr
        # What was done all the same.
        assert re.search(r"\ndocuments +2 \(.*2 unchanged", refused.stderr)
        assert job.doc_hashes("v1").keys() == set(names)
    audit = ("verify", "--repair", *job.arguments(*flags)[1:])
    at = audit.index("--collection")
    repair = (*audit[:1], job.collection, *audit[1:at], *audit[at + 2 :])
    assert "the corpus has 2 files, and had 5" in job.call(*repair, expect=2).stderr
    job.run(*flags, "--force")
    assert job.doc_hashes("v1").keys() == {"a", "b"}
    job.run(*flags)


def test_many_files_that_became_one_are_no_loss(lite_job: JobFolder) -> None:
    for name in "abcde":
        lite_job.write({name: f"The text of {name}."}, file=f"{name}.parquet")
    lite_job.run("--delete-missing")
    for name in "bcde":
        (lite_job.folder / "corpus" / f"{name}.parquet").unlink()
    lite_job.write({name: f"The text of {name}." for name in "abcde"}, file="a.parquet")

    lite_job.run("--delete-missing")

    assert lite_job.history()[0]["num_files"] == 1
