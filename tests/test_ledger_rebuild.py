"""A lost ledger comes back from what Milvus holds, and says no more than that."""

from dataclasses import replace
from pathlib import Path

import pytest

from embed_index.pipeline.ids import carried_hash, chunk_id, text_hash
from embed_index.pipeline.ledger import Ledger
from embed_index.pipeline.ledger_entries import LedgerEntry
from embed_index.pipeline.ledger_rebuild import rebuild_ledger
from embed_index.pipeline.stored_chunks import StoredChunk


def stored(doc_id: str, *texts: str, doc_hash: str = "h") -> list[StoredChunk]:
    return [
        StoredChunk(
            chunk_id=chunk_id(doc_id, index),
            doc_id=doc_id,
            chunk_index=index,
            num_chunks=len(texts),
            char_start=0,
            char_end=len(text),
            num_tokens=3,
            doc_hash=doc_hash,
            text_complete=True,
            source="a.parquet#0:0",
            carried={"topic": "pumps"},
            text=text,
        )
        for index, text in enumerate(texts)
    ]


def rebuilt(folder: Path, chunks: list[StoredChunk]) -> tuple[LedgerEntry | None, list[bytes]]:
    with Ledger(folder / "docs.ledger") as ledger:
        documents = ledger.documents("docs_v1", collection_id="c")
        rebuild_ledger(documents, chunks, folder=folder)
        (entry,) = documents.lookup(["d"])
        return entry, documents.chunk_hashes("d")


def test_a_whole_document_is_committed_as_it_was(tmp_path: Path) -> None:
    entry, hashes = rebuilt(tmp_path, stored("d", "one", "two")[::-1] + stored("other", "x"))

    assert entry is not None
    assert (entry.doc_hash, entry.carried_hash) == ("h", carried_hash(("pumps",)))
    assert (entry.num_chunks, entry.max_chunks, entry.source) == (2, 2, "a.parquet#0:0")
    assert hashes == [bytes.fromhex(text_hash(text)) for text in ("one", "two")]


@pytest.mark.parametrize(
    "chunks",
    [
        stored("d", "one", "two", "three")[1:],
        stored("d", "one", "two", "three")[:2],
        [*stored("d", "one", "two"), stored("d", "1", "2", "3", doc_hash="older")[2]],
        [stored("d", "one", "two")[0], stored("d", "one", "other", doc_hash="older")[1]],
    ],
)
def test_a_document_that_is_not_whole_is_pending_and_its_orphans_are_known(
    tmp_path: Path, chunks: list[StoredChunk]
) -> None:
    entry, hashes = rebuilt(tmp_path, chunks)

    assert entry is not None
    assert entry.doc_hash is None
    assert entry.max_chunks == max(chunk.chunk_index for chunk in chunks) + 1
    assert hashes == []


def test_rows_of_two_moments_have_their_metadata_written_again(tmp_path: Path) -> None:
    first, second = stored("d", "one", "two")
    entry, _ = rebuilt(tmp_path, [first, replace(second, source="b.parquet#0:0")])

    assert entry is not None
    assert (entry.doc_hash, entry.carried_hash) == ("h", None)


def test_a_chunk_whose_text_milvus_cut_offers_no_hash_for_reuse(tmp_path: Path) -> None:
    first, second = stored("d", "one", "two")
    entry, hashes = rebuilt(tmp_path, [first, replace(second, text_complete=False)])

    assert entry is not None
    assert entry.doc_hash == "h"
    assert hashes == []


def test_a_row_under_a_foreign_key_is_left_out(tmp_path: Path) -> None:
    (chunk,) = stored("d", "one")

    assert rebuilt(tmp_path, [replace(chunk, chunk_id="f" * 32)]) == (None, [])
