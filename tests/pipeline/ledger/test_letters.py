from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_samples import committed, write

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.schemas.records import DeadLetter, SourceRow


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


def letter(doc_id: str | None, *, stage: str = "embed", row: int = 0) -> DeadLetter:
    return DeadLetter(
        source=SourceRow(path="f.parquet", row_group=0, row=row),
        stage=stage,  # type: ignore[arg-type]
        reason="refused",
        detail="the server refused it",
        doc_id=doc_id,
        chunk_index=4,
        attempts=2,
    )


def test_a_dead_letter_gathers_attempts_over_the_runs(ledger: Ledger) -> None:
    for run in (1, 2):
        ledger.dead_letters.record([letter("a", row=run)], version="docs_v1", run=run)

    (found,) = ledger.dead_letters.open("docs_v1")

    expected = letter("a", row=2)
    assert (found.letter.source, found.letter.attempts) == (expected.source, 4)
    assert found.first_seen < found.last_seen
    assert found.last_run == 2
    assert ledger.dead_letters.count("docs_v1") == 1
    assert ledger.dead_letters.count("docs_v2") == 0


def test_committing_or_forgetting_a_document_closes_its_dead_letter(
    ledger: Ledger, documents: DocumentLedger
) -> None:
    letters = [letter("a"), letter("b"), letter("a", stage="read", row=1), letter(None, row=2)]
    ledger.dead_letters.record(letters, version="docs_v1", run=1)

    write(documents, committed("a"))
    documents.register(["b"])
    documents.forget(["b"])

    left = [opened.letter.source.row for opened in ledger.dead_letters.open("docs_v1")]
    assert left == [1, 2]


def test_a_complete_run_closes_what_it_did_not_meet_again(
    ledger: Ledger, documents: DocumentLedger
) -> None:
    documents.register(["pending"])
    old = [letter("gone"), letter("pending"), letter(None, row=1), letter(None, row=2)]
    ledger.dead_letters.record(old, version="docs_v1", run=1)
    ledger.dead_letters.record([letter(None, row=2)], version="docs_v1", run=2)

    ledger.dead_letters.close_unseen("docs_v1", run=2)

    left = [(o.letter.doc_id, o.letter.source.row) for o in ledger.dead_letters.open("docs_v1")]
    assert left == [("pending", 0), (None, 2)]


def test_a_path_that_is_not_unicode_can_be_recorded(ledger: Ledger) -> None:
    source = SourceRow(path="bad\udcff.parquet", row_group=0, row=0)
    strange = DeadLetter(source=source, stage="read", reason="x", detail="\ud800")

    ledger.dead_letters.record([strange], version="docs_v1", run=1)

    (found,) = ledger.dead_letters.open("docs_v1")
    assert (found.letter.source.path, found.letter.detail) == ("bad\\udcff.parquet", "\\ud800")


def test_letters_are_paged_through_completely(ledger: Ledger) -> None:
    many = [letter(None, row=row) for row in range(2500)]
    ledger.dead_letters.record(many, version="docs_v1", run=1)

    assert {o.letter.source.row for o in ledger.dead_letters.open("docs_v1")} == set(range(2500))
