"""A corpus of which less can be seen than the night before: files, rows or values."""

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

    assert "severity is null in 2 rows, where the collection holds 0" in done.stderr
    assert "2 refreshed" in done.stderr + done.stdout
