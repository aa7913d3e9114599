"""A lost ledger comes back from what Milvus holds, and says no more than that."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from milvus_fixtures import make_contract

from embed_index.pipeline.audit.ledger_rebuild import open_documents, rebuild_ledger
from embed_index.pipeline.ledger.entries import LedgerEntry
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.stored import StoredChunk
from embed_index.pipeline.versions.target import TargetVersion
from embed_index.schemas.errors import StoreError
from embed_index.schemas.ids import carried_hash, chunk_id, text_hash


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
    assert (entry.num_chunks, entry.max_chunks) == (2, 2)
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
    entry, _ = rebuilt(tmp_path, [first, replace(second, carried={"topic": "valves"})])

    assert entry is not None
    assert (entry.doc_hash, entry.carried_hash) == ("h", None)


def test_rows_written_at_two_places_of_the_corpus_are_one_document(tmp_path: Path) -> None:
    first, second = stored("d", "one", "two")
    entry, _ = rebuilt(tmp_path, [first, replace(second, source="b.parquet#0:0")])

    assert entry is not None
    assert (entry.doc_hash, entry.carried_hash) == ("h", carried_hash(("pumps",)))


def test_a_chunk_whose_text_milvus_cut_offers_no_hash_for_reuse(tmp_path: Path) -> None:
    first, second = stored("d", "one", "two")
    entry, hashes = rebuilt(tmp_path, [first, replace(second, text_complete=False)])

    assert entry is not None
    assert entry.doc_hash == "h"
    assert hashes == []


@pytest.mark.parametrize(
    "changes", [{"chunk_id": "f" * 32}, {"chunk_index": -1}, {"chunk_index": 1 << 62}]
)
def test_a_row_under_a_foreign_key_is_left_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    (chunk,) = stored("d", "one")

    assert rebuilt(tmp_path, [replace(chunk, **changes)]) == (None, [])


class Rows:
    """A collection that can fail while it is read."""

    def __init__(self, chunks: list[StoredChunk], *, fails: bool = False) -> None:
        self._chunks = chunks
        self._fails = fails
        self.num_readings = 0

    def iter_chunks(self, version: str, *, with_text: bool = False) -> Iterator[StoredChunk]:
        assert with_text
        self.num_readings += 1
        yield from self._chunks
        if self._fails:
            raise StoreError("away")


def version_of(collection_id: str) -> TargetVersion:
    contract = make_contract().model_copy(update={"collection_id": collection_id})
    return TargetVersion(name="docs_v1", contract=contract, carried=(), exists=True, is_live=True)


def test_only_a_version_that_the_ledger_does_not_know_is_read(tmp_path: Path) -> None:
    rows = Rows(stored("d", "one"))
    with Ledger(tmp_path / "docs.ledger") as ledger:
        for collection_id in ("c", "c", "recreated"):
            documents = open_documents(
                ledger,
                version_of(collection_id),
                reader=rows,
                folder=tmp_path,
            )

        assert documents.num_documents() == 1
    assert rows.num_readings == 2


def test_a_rebuild_that_was_cut_short_is_begun_again(tmp_path: Path) -> None:
    chunks = stored("d", "one", "two")
    with Ledger(tmp_path / "docs.ledger") as ledger:
        opening = partial(open_documents, ledger, version_of("c"), folder=tmp_path)
        with pytest.raises(StoreError):
            opening(reader=Rows(chunks[:1], fails=True))

        assert not ledger.knows("docs_v1", collection_id="c")
        assert opening(reader=Rows(chunks)).counts().num_chunks == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["docs.ledger"]
