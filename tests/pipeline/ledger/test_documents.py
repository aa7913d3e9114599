import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import committed, only, write

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerCounts, LedgerDocument, LedgerEntry, Refreshed
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.schemas.ids import text_hash

DOC_IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "docs.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


@pytest.fixture
def documents(ledger: Ledger) -> DocumentLedger:
    return ledger.documents("docs_v1", collection_id="first")


def test_an_unknown_document_has_no_entry(documents: DocumentLedger) -> None:
    assert documents.lookup(["a", "b"]) == [None, None]


def test_a_registered_document_has_a_row_and_no_hash(documents: DocumentLedger) -> None:
    documents.register(["a"])

    entry = only(documents, "a")

    assert entry == LedgerEntry("a", entry.row, None, None, 0, 0, None)


def test_a_commit_stores_every_value(documents: DocumentLedger) -> None:
    document = committed("a", num_chunks=3)

    write(documents, document, run=7)

    entry = only(documents, "a")
    hashes = (document.doc_hash, document.carried_hash)
    assert entry == LedgerEntry("a", entry.row, *hashes, 3, 3, 7)
    assert documents.chunk_hashes("a") == [bytes(16)] * 3


def test_a_begun_document_counts_as_unknown_with_the_larger_of_both_chunk_counts(
    documents: DocumentLedger,
) -> None:
    write(documents, committed("a", num_chunks=5))

    documents.begin([("a", 3)])
    documents.begin([("a", 4)])

    entry = only(documents, "a")
    assert (entry.doc_hash, entry.num_chunks, entry.max_chunks) == (None, 5, 5)
    assert documents.chunk_hashes("a") == []
    assert list(documents.pending()) == [entry]


def test_a_commit_lowers_the_number_of_chunks_that_may_exist(documents: DocumentLedger) -> None:
    write(documents, committed("a", num_chunks=5))

    write(documents, committed("a", num_chunks=2))

    assert only(documents, "a").max_chunks == 2


@pytest.mark.parametrize("intended", [None, 1], ids=["not begun", "begun with fewer chunks"])
def test_a_commit_without_its_intent_is_refused_as_a_whole(
    documents: DocumentLedger, intended: int | None
) -> None:
    documents.register(["good", "bad"])
    documents.begin([("good", 1)])
    if intended is not None:
        documents.begin([("bad", intended)])
    before = list(documents.entries())

    with pytest.raises(ValueError, match="'bad'"):
        documents.commit([committed("good"), committed("bad", num_chunks=2)], run=1)

    assert list(documents.entries()) == before


def test_chunk_hashes_must_match_the_chunks() -> None:
    with pytest.raises(ValueError, match="chunk hashes"):
        LedgerDocument(
            doc_id="a",
            doc_hash="",
            carried_hash="",
            num_chunks=2,
            chunk_hashes=bytes(16),
        )


def test_beginning_an_unregistered_document_is_refused(documents: DocumentLedger) -> None:
    with pytest.raises(KeyError, match="stranger"):
        documents.begin([("stranger", 1)])


def test_a_refresh_keeps_hash_and_chunks(documents: DocumentLedger) -> None:
    write(documents, committed("a", num_chunks=2))
    before = only(documents, "a")

    documents.begin_refresh(["a"])
    during = only(documents, "a")
    documents.commit_refresh([Refreshed("a", text_hash("new"))], run=2)

    assert during == before._replace(carried_hash=None)
    assert only(documents, "a") == before._replace(carried_hash=text_hash("new"), last_run=2)


def test_a_refresh_that_was_not_begun_is_refused(documents: DocumentLedger) -> None:
    write(documents, committed("a"))

    with pytest.raises(ValueError, match="begin_refresh"):
        documents.commit_refresh([Refreshed("a", text_hash("new"))], run=2)


def test_nothing_is_flushed_before_it_was_said(documents: DocumentLedger) -> None:
    before = documents.is_flushed()
    write(documents, committed("a"))
    documents.mark_flushed()

    documents.register(["b"])

    assert (before, documents.is_flushed()) == (False, True)


@pytest.mark.parametrize(
    "touch",
    [
        lambda documents: documents.begin([("a", 1)]),
        lambda documents: documents.begin_refresh(["a"]),
        lambda documents: documents.forget(["a"]),
    ],
    ids=["begun", "refreshed", "forgotten"],
)
def test_a_touched_document_calls_for_a_flush(
    documents: DocumentLedger, touch: Callable[[DocumentLedger], None]
) -> None:
    write(documents, committed("a"))
    documents.mark_flushed()

    touch(documents)

    assert not documents.is_flushed()


def test_a_row_id_never_returns(documents: DocumentLedger) -> None:
    write(documents, committed("a"))
    row = only(documents, "a").row
    documents.forget(["a"])

    documents.register(["b"])

    assert only(documents, "b").row > row


def test_replacing_all_takes_over_what_milvus_holds(documents: DocumentLedger) -> None:
    write(documents, committed("old"))
    incomplete = LedgerDocument(
        doc_id="torn",
        doc_hash=None,
        carried_hash=None,
        num_chunks=0,
        chunk_hashes=b"",
        max_chunks=9,
    )

    documents.replace_all(iter([committed("a", num_chunks=2), incomplete]))

    assert [(e.doc_id, e.doc_hash, e.max_chunks) for e in documents.entries()] == [
        ("a", text_hash("a"), 2),
        ("torn", None, 9),
    ]
    assert documents.counts() == LedgerCounts(num_documents=2, num_pending=1, num_chunks=2)


def test_replacing_all_fails_as_a_whole(documents: DocumentLedger) -> None:
    write(documents, committed("old"))

    def breaks_off() -> Iterator[LedgerDocument]:
        yield committed("a")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        documents.replace_all(breaks_off())

    assert [entry.doc_id for entry in documents.entries()] == ["old"]


@given(doc_ids=st.lists(DOC_IDS, max_size=8))
@settings(max_examples=50)
def test_lookup_answers_in_order_for_any_ids(doc_ids: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "l") as ledger:
        documents = ledger.documents("docs_v1", collection_id="first")
        documents.register(doc_ids[::2])

        found = documents.lookup(doc_ids)

    known = set(doc_ids[::2])
    assert [entry and entry.doc_id for entry in found] == [
        doc_id if doc_id in known else None for doc_id in doc_ids
    ]
