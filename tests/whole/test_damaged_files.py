"""Files of a corpus that are wrong as a whole: named with a remedy, and nothing else is lost."""

import base64
import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pqe
import pytest
from job_fixtures import JobFolder, hashes_of

from embed_index.pipeline.stages.dead_letters import read_dead_letters

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
    pq.write_table(TABLE.set_column(2, "topic", pa.array([[b"t"]])), path)


def write_long_decimals(path: Path) -> None:
    pq.write_table(
        TABLE.set_column(2, "topic", pa.array([Decimal("1.50")], pa.decimal128(38, 2))), path
    )


def write_numbers_as_text(path: Path) -> None:
    pq.write_table(TABLE.set_column(1, "text", pa.array([7])), path)


def write_booleans_as_ids(path: Path) -> None:
    pq.write_table(TABLE.set_column(0, "id", pa.array([True])), path)


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
        (write_long_decimals, "which a collection cannot carry"),
        (write_numbers_as_text, "text_column: 'text' in"),
        (write_booleans_as_ids, "id_column: 'id' in"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_a_remedy(
    lite_job: JobFolder, spoil: Spoil, message: str
) -> None:
    lite_job.write({"d0": "A good document."})
    bad = lite_job.folder / "corpus" / "bad.parquet"
    spoil(bad)

    done = lite_job.run("--carry", "topic", expect=2)

    error, remedy, *_ = done.stderr.splitlines()
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
    whole = damage(damaged, row_group=4)
    few_at_once = ("--batch-tokens", "64", "--max-in-flight", "1")

    failed = lite_job.run(*few_at_once, expect=2)
    damaged.write_bytes(whole)
    planned = json.loads(lite_job.call("plan", *lite_job.arguments("--format", "json")[1:]).stdout)
    lite_job.run()

    assert f"input: {damaged} cannot be read at row group 4" in failed.stderr
    second, first = lite_job.history()
    assert (first["outcome"], first["exit_code"]) == ("failed", 2)
    assert first["num_new"] > 0
    # The failed run may have embedded, and even written, a little more than it recorded.
    assert 0 < second["num_chunks_embedded"] < len(CORPUS)
    # What was begun, and never was there as a whole, is as new as the rest.
    assert first["num_new"] + second["num_new"] == len(CORPUS)
    assert second["num_changed"] == 0
    found = planned["documents"]
    assert (found["num_new"], found["num_changed"]) == (second["num_new"], 0)
    assert planned["storage"]["rows_after"] == len(CORPUS)
    assert lite_job.doc_hashes("v1") == hashes_of(CORPUS)


def damage(file: Path, *, row_group: int) -> bytes:
    """Spoil a page of the texts; return what the file was."""
    whole = file.read_bytes()
    with pq.ParquetFile(file) as parquet:
        place = parquet.metadata.row_group(row_group).column(1).data_page_offset
    file.write_bytes(whole[:place] + bytes(200) + whole[place + 200 :])
    return whole


SKIP = ("--on-bad-file", "skip")
DELETE = ("--delete-missing", "--force")


def test_a_skipped_file_costs_one_dead_letter_and_no_document(lite_job: JobFolder) -> None:
    damaged = write_in_two_files(lite_job)
    lite_job.run()
    whole = damage(damaged, row_group=4)
    (lite_job.folder / "corpus" / "a.parquet").unlink()
    lite_job.write({"new": "Another document."}, file="c.parquet")

    done = lite_job.run(*SKIP, *DELETE, "--max-dead-letters", "1")
    refused = lite_job.run(*SKIP, "--max-dead-letters", "0", expect=3)
    status = lite_job.on_ledger("status")
    damaged.write_bytes(whole)
    lite_job.run(*SKIP, *DELETE)

    assert f"input: {damaged} cannot be read at row group 4" in done.stderr
    assert "the file is skipped (on_bad_file)" in done.stderr
    assert "skipped files 1; nothing was deleted" in done.stdout
    assert "1 dead letter of 81 rows" in refused.stderr
    assert "dead_letters but for 1 file, exit code 3" in status.stdout
    last, strict, skipping, _ = lite_job.history()
    assert (skipping["num_new"], skipping["num_unchanged"]) == (1, 80)
    assert (skipping["num_files_skipped"], skipping["num_dead_letters"]) == (1, 1)
    assert (skipping["num_deleted"], strict["num_missing"]) == (0, 0)
    assert (last["num_deleted"], last["num_files_skipped"], last["num_dead_letters"]) == (120, 0, 0)
    second_half = dict(list(CORPUS.items())[120:])
    assert lite_job.doc_hashes("v1") == hashes_of({**second_half, "new": "Another document."})


def test_the_letter_of_a_skipped_file_names_it_until_it_is_read(lite_job: JobFolder) -> None:
    damaged = write_in_two_files(lite_job)
    whole = damage(damaged, row_group=0)
    lite_job.run(*SKIP, "--max-dead-letters", "1")
    (file,) = (lite_job.state / "dead-letters").rglob("*.parquet")
    (letter,) = read_dead_letters(file)

    still = retry(lite_job, *SKIP)
    damaged.write_bytes(whole)
    mended = retry(lite_job)

    assert (str(letter.source), letter.stage, letter.reason) == ("b.parquet", "read", "bad_file")
    assert (still["num_remaining"], still["remaining"][0]["attempts"]) == (1, 2)
    assert (mended["num_before"], mended["num_remaining"]) == (1, 0)
    assert mended["num_chunks_embedded"] >= 120
    assert lite_job.doc_hashes("v1") == hashes_of(CORPUS)


def test_a_rebuild_without_a_file_does_not_go_live(lite_job: JobFolder) -> None:
    damaged = write_in_two_files(lite_job)
    lite_job.run()
    whole = damage(damaged, row_group=0)

    failed = lite_job.run(*SKIP, "--rebuild", "--dimension", "32", expect=2)
    live = lite_job.live()
    damaged.write_bytes(whole)
    lite_job.run(*SKIP, "--rebuild", "--dimension", "32")

    assert "rebuild: skipped 1 file," in failed.stderr
    assert live == f"{lite_job.collection}_v1"
    assert lite_job.live() == f"{lite_job.collection}_v2"
    assert (
        lite_job.history()[0]["num_chunks_embedded"] == lite_job.history()[1]["num_chunks_embedded"]
    )
    assert lite_job.doc_hashes("v2") == hashes_of(CORPUS)


def test_a_repair_skips_no_file(lite_job: JobFolder) -> None:
    damaged = write_in_two_files(lite_job)
    lite_job.run()
    damage(damaged, row_group=0)

    done = lite_job.call(
        "verify",
        lite_job.collection,
        "--repair",
        *without_collection(lite_job, *SKIP, *DELETE),
        expect=2,
    )

    assert f"input: {damaged} cannot be read" in done.stderr
    assert lite_job.doc_hashes("v1") == hashes_of(CORPUS)


def test_a_corpus_of_nothing_but_bad_files_is_not_skipped(lite_job: JobFolder) -> None:
    for name in ("a", "b"):
        lite_job.write({name: "A good document."}, file=f"{name}.parquet")

    done = lite_job.run(*SKIP, "--text-column", "body", expect=2)

    assert "has no column 'body', and so are the others of 2 files" in done.stderr


def without_collection(job: JobFolder, *more: str) -> list[str]:
    _, *flags = job.arguments(*more)
    at = flags.index("--collection")
    return [*flags[:at], *flags[at + 2 :]]


def retry(job: JobFolder, *more: str) -> dict[str, Any]:
    done = job.call("retry", job.collection, "--json", *without_collection(job, *more))
    retried: dict[str, Any] = json.loads(done.stdout)
    return retried


def test_a_column_that_ends_early_does_not_end_its_documents(
    lite_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite_job.write(CORPUS)
    lite_job.run()
    path = lite_job.folder / "corpus" / "a.parquet"
    pq.write_table(pq.read_table(path), path, compression="none")
    whole = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda *given, **options: (batch.slice(0, 7) for batch in whole(*given, **options)),
    )

    done = lite_job.run("--delete-missing", "--force", expect=2)

    assert "gives 7 rows of row group 0, which should have 240" in done.stderr
    assert lite_job.doc_hashes("v1") == hashes_of(CORPUS)
