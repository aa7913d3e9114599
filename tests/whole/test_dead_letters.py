import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_index.pipeline.stages.dead_letters import (
    MAX_FILES,
    DeadLetterFile,
    allowed_dead_letters,
    read_dead_letters,
)
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import DeadLetter, SourceRow


def letter(row: int = 0, *, doc_id: str | None = "a", chunk_index: int | None = None) -> DeadLetter:
    return DeadLetter(
        source=SourceRow(path="part-0.parquet", row_group=2, row=row),
        stage="embed",
        reason="refused",
        detail="the server refused the chunk",
        doc_id=doc_id,
        chunk_index=chunk_index,
        attempts=3,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dead-letters"


def test_letters_are_read_back_as_they_were_written(folder: Path) -> None:
    letters = [letter(), letter(1, doc_id=None), letter(2, chunk_index=5)]

    with DeadLetterFile(folder, run="run-1") as file:
        file.write(letters)

    assert names(folder) == ["run-1.parquet"]
    assert list(read_dead_letters(file.path)) == letters


def test_the_columns_are_those_that_the_documentation_names(folder: Path) -> None:
    with DeadLetterFile(folder, run="run-1") as file:
        file.write([letter(7)])

    assert pq.read_table(file.path).to_pylist() == [
        {
            "doc_id": "a",
            "file": "part-0.parquet",
            "row_group": 2,
            "row": 7,
            "stage": "embed",
            "reason": "refused",
            "detail": "the server refused the chunk",
            "attempts": 3,
            "chunk_index": None,
        }
    ]


def test_a_run_without_dead_letters_leaves_no_file(folder: Path) -> None:
    file = DeadLetterFile(folder, run="run-1")

    file.write([])

    assert file.publish() is None
    assert names(folder) == []


def test_many_letters_become_several_row_groups_in_order(folder: Path) -> None:
    with DeadLetterFile(folder, run="run-1") as file:
        for row in range(9000):
            file.write([letter(row)])

    assert [found.source.row for found in read_dead_letters(file.path)] == list(range(9000))
    with pq.ParquetFile(file.path) as parquet:
        assert parquet.num_row_groups == 3


def test_the_file_has_its_name_only_when_it_is_complete(folder: Path) -> None:
    file = DeadLetterFile(folder, run="run-1")
    file.write(letter(row) for row in range(5000))

    assert names(folder) == ["run-1.parquet.partial"]

    assert file.publish() == file.path
    assert names(folder) == ["run-1.parquet"]


def test_an_exception_still_publishes_what_is_known(folder: Path) -> None:
    file = DeadLetterFile(folder, run="run-1")

    def is_interrupted() -> None:
        with file:
            file.write([letter()])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        is_interrupted()

    assert list(read_dead_letters(file.path)) == [letter()]


DIES = """
import os, sys
from pathlib import Path
from embed_index.pipeline.stages.dead_letters import DeadLetterFile
from embed_index.schemas.records import DeadLetter, SourceRow
file = DeadLetterFile(Path(sys.argv[1]), run="run-1")
source = SourceRow(path="p", row_group=0, row=0)
file.write([DeadLetter(source=source, stage="read", reason="r", detail="d")] * 5000)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_run_left_is_removed_and_older_files_stay(folder: Path) -> None:
    with DeadLetterFile(folder, run="run-0") as older:
        older.write([letter()])
    died = subprocess.run([sys.executable, "-c", DIES, str(folder)], timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert names(folder) == ["run-0.parquet", "run-1.parquet.partial"]

    with DeadLetterFile(folder, run="run-2") as file:
        file.write([letter()])

    assert names(folder) == ["run-0.parquet", "run-2.parquet"]


def test_only_the_newest_files_stay(folder: Path) -> None:
    for run in range(MAX_FILES + 3):
        with DeadLetterFile(folder, run=f"{run:03}") as file:
            file.write([letter()])

    assert names(folder) == [f"{run:03}.parquet" for run in range(3, MAX_FILES + 3)]


def test_names_that_are_not_unicode_are_written_readably(folder: Path) -> None:
    source = SourceRow(path="bad\udcff.parquet", row_group=0, row=0)
    strange = DeadLetter(source=source, stage="read", reason="r", detail="\ud800", doc_id="\udfff")

    with DeadLetterFile(folder, run="run-1") as file:
        file.write([strange])

    (found,) = read_dead_letters(file.path)
    assert found.source.path == "bad\\udcff.parquet"
    assert (found.detail, found.doc_id) == ("\\ud800", "\\udfff")


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="run-9"):
        list(read_dead_letters(folder / "run-9.parquet"))


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.parquet"
    path.write_text("not Parquet at all")

    with pytest.raises(ConfigurationError, match="cannot be read"):
        list(read_dead_letters(path))


def test_a_file_with_other_columns_is_named(tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"id": ["a"]}), path)

    with pytest.raises(ConfigurationError, match="not a file of dead letters"):
        list(read_dead_letters(path))


@pytest.mark.parametrize(
    ("limit", "num_rows", "allowed"),
    [
        ("0", 1000, 0),
        ("10", 5, 10),
        ("0%", 1000, 0),
        ("1%", 1000, 10),
        ("1%", 99, 0),
        ("1%", 199, 1),
        ("0.1%", 1000, 1),
        ("29%", 100, 29),
        ("100%", 7, 7),
        ("100.0%", 7, 7),
        ("1%", 0, 0),
    ],
)
def test_the_limit_is_a_count_or_a_share_rounded_down(
    limit: str, num_rows: int, allowed: int
) -> None:
    assert allowed_dead_letters(limit, num_rows=num_rows) == allowed


@given(percent=st.integers(0, 100), num_rows=st.integers(0, 10**12))
def test_a_share_is_exact(percent: int, num_rows: int) -> None:
    assert allowed_dead_letters(f"{percent}%", num_rows=num_rows) == percent * num_rows // 100
