"""Files of a corpus that are wrong as a whole: named with a remedy, and nothing else is lost."""

import base64
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pqe
import pytest
from job_fixtures import JobFolder, hashes_of

CORPUS = {f"d{n:03}": f"Text number {n} speaks of pumps. " * 3 for n in range(240)}
TABLE = pa.table({"id": ["x"], "text": ["A text."], "topic": ["t"]})
Spoil: TypeAlias = Callable[[Path], None]


def truncate(path: Path) -> None:
    pq.write_table(TABLE, path)
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.touch()


def write_notes(path: Path) -> None:
    path.write_text("id,text\nx,A text.\n" * 9)


class PlainKeys(pqe.KmsClient):  # type: ignore[misc] # pyarrow is untyped
    """Keeps a file's key in its metadata, for whoever can read base64."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return base64.b64encode(key_bytes).decode()

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


def encrypt(path: Path, *, plaintext_footer: bool = False) -> None:
    properties = pqe.CryptoFactory(lambda _: PlainKeys()).file_encryption_properties(
        pqe.KmsConnectionConfig(),
        pqe.EncryptionConfiguration(
            footer_key="footer", column_keys={"text": ["text"]}, plaintext_footer=plaintext_footer
        ),
    )
    with pq.ParquetWriter(path, TABLE.schema, encryption_properties=properties) as writer:
        writer.write_table(TABLE)


def encrypt_columns_only(path: Path) -> None:
    encrypt(path, plaintext_footer=True)


def drop_column(path: Path) -> None:
    pq.write_table(TABLE.drop_columns("text"), path)


def name_column_twice(path: Path) -> None:
    pq.write_table(pa.table([["x"], ["t"], ["u"], ["v"]], ["id", "text", "text", "topic"]), path)


def write_other_type(path: Path) -> None:
    pq.write_table(TABLE.set_column(2, "topic", pa.array([7])), path)


def nest(path: Path) -> None:
    pq.write_table(TABLE.set_column(2, "topic", pa.array([["t"]])), path)


def write_decimals(path: Path) -> None:
    pq.write_table(TABLE.set_column(2, "topic", pa.array([Decimal("1.50")])), path)


def write_bytes_as_text(path: Path) -> None:
    pq.write_table(TABLE.set_column(1, "text", pa.array([b"A text."])), path)


def write_numbers_as_ids(path: Path) -> None:
    pq.write_table(TABLE.set_column(0, "id", pa.array([1.5])), path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, "is not a readable Parquet file"),
        (empty, "is not a readable Parquet file"),
        (write_notes, "is not a readable Parquet file"),
        (encrypt, "is not a readable Parquet file"),
        (encrypt_columns_only, "cannot be read at row group 0"),
        (drop_column, "has no column 'text'"),
        (name_column_twice, "has several columns 'text'"),
        (write_other_type, "carry: 'topic' is integer in"),
        (nest, "which a collection cannot carry"),
        (write_decimals, "which a collection cannot carry"),
        (write_bytes_as_text, "text_column: 'text' in"),
        (write_numbers_as_ids, "id_column: 'id' in"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_a_remedy(
    lite_job: JobFolder, spoil: Spoil, message: str
) -> None:
    lite_job.write({"d0": "A good document."})
    bad = lite_job.folder / "corpus" / "bad.parquet"
    spoil(bad)

    done = lite_job.run("--carry", "topic", expect=2)

    error, remedy = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert str(bad) in error
    assert message in error
    assert remedy


def test_a_file_whose_name_is_not_utf8_is_named(lite_job: JobFolder) -> None:
    lite_job.write({"d0": "A good document."})
    corpus = lite_job.folder / "corpus"
    (corpus / "a.parquet").rename(corpus / os.fsdecode(b"b\xff.parquet"))

    done = lite_job.run(expect=2)

    assert "is not a readable Parquet file" in done.stderr


def write_in_two_files(job: JobFolder) -> Path:
    half = len(CORPUS) // 2
    for name, part in (("a", list(CORPUS.items())[:half]), ("b", list(CORPUS.items())[half:])):
        table = pa.table(dict(zip(("id", "text"), zip(*part, strict=True), strict=True)))
        path = job.folder / "corpus" / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path, row_group_size=20, use_dictionary=False, compression="none")
    return path


def test_what_was_indexed_before_a_damaged_page_is_kept(lite_job: JobFolder) -> None:
    damaged = write_in_two_files(lite_job)
    whole = damaged.read_bytes()
    with pq.ParquetFile(damaged) as parquet:
        place = parquet.metadata.row_group(4).column(1).data_page_offset
    damaged.write_bytes(whole[:place] + bytes(200) + whole[place + 200 :])
    few_at_once = ("--batch-tokens", "64", "--max-in-flight", "1")

    failed = lite_job.run(*few_at_once, expect=2)
    damaged.write_bytes(whole)
    lite_job.run()

    assert f"input: {damaged} cannot be read at row group 4" in failed.stderr
    second, first = lite_job.history()
    assert (first["outcome"], first["exit_code"]) == ("failed", 2)
    assert first["num_new"] > 0
    # The failed run may have embedded, and even written, a little more than it recorded.
    assert 0 < second["num_chunks_embedded"] < len(CORPUS)
    assert first["num_new"] + second["num_new"] + second["num_changed"] == len(CORPUS)
    assert lite_job.doc_hashes("v1") == hashes_of(CORPUS)


def test_a_column_that_ends_early_does_not_end_its_documents(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    whole = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda *given, **options: (batch.slice(0, 7) for batch in whole(*given, **options)),
    )

    done = lite_job.run("--delete-missing", "--force", expect=2)

    assert "gives 7 rows of row group 0, which should have 240" in done.stderr
    assert lite_job.doc_hashes("v1") == hashes_of(CORPUS)
