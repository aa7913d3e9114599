from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_samples import committed, stretch_of, write

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.stages.comparison import CorpusPass, Difference


def changes(differences: list[Difference]) -> list[tuple[int, str]]:
    return [(difference.place, difference.change) for difference in differences]


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


CORPUS = [committed(f"doc-{i}", text=f"text {i}", source=f"f.parquet#0:{i}") for i in range(100)]


def first_run(documents: DocumentLedger) -> None:
    corpus_pass = CorpusPass(documents)
    corpus_pass.compare(stretch_of(*CORPUS))
    write(documents, *CORPUS)
    corpus_pass.seal()


def num_sealed(documents: DocumentLedger) -> int:
    return int(documents.file.query("SELECT count(*) FROM stretches WHERE is_sealed = 1")[0][0])


def test_an_unseen_corpus_is_new(documents: DocumentLedger) -> None:
    differences = CorpusPass(documents).compare(stretch_of(*CORPUS))

    assert changes(differences) == [(place, "new") for place in range(100)]
    assert [d.entry.doc_id for d in differences] == [d.doc_id for d in CORPUS]


@pytest.mark.parametrize("cut", [100, 70, 7], ids=["as before", "otherwise", "in small stretches"])
def test_an_unchanged_corpus_needs_no_work_however_it_is_cut(
    documents: DocumentLedger, cut: int
) -> None:
    first_run(documents)
    corpus_pass = CorpusPass(documents)

    for start in range(0, 100, cut):
        assert corpus_pass.compare(stretch_of(*CORPUS[start : start + cut])) == []

    assert list(corpus_pass.missing()) == []


def test_an_unchanged_pass_writes_nothing(documents: DocumentLedger) -> None:
    first_run(documents)
    before = documents.file.query("SELECT total_changes()")
    corpus_pass = CorpusPass(documents)

    corpus_pass.compare(stretch_of(*CORPUS))
    list(corpus_pass.missing())
    corpus_pass.seal()

    assert documents.file.query("SELECT total_changes()") == before


def test_each_kind_of_difference_is_found(documents: DocumentLedger) -> None:
    first_run(documents)
    corpus = list(CORPUS)
    corpus[3] = committed("doc-3", text="edited", source="f.parquet#0:3")
    corpus[5] = committed("doc-5", text="text 5", source="moved.parquet#0:5")
    corpus[8] = committed("doc-8", text="text 8", carried="edited", source="f.parquet#0:8")
    corpus[9] = committed("doc-0", text="text 0", source="f.parquet#0:9")
    corpus.append(committed("added"))
    corpus_pass = CorpusPass(documents)

    differences = corpus_pass.compare(stretch_of(*corpus))

    expected = [(3, "changed"), (5, "refresh"), (8, "refresh"), (9, "duplicate"), (100, "new")]
    assert changes(differences) == expected
    assert [entry.doc_id for entry in corpus_pass.missing()] == ["doc-9"]


def test_a_document_begun_in_a_dead_run_is_changed_though_its_text_is_the_old_one(
    documents: DocumentLedger,
) -> None:
    first_run(documents)
    documents.begin([("doc-4", 1)])

    assert changes(CorpusPass(documents).compare(stretch_of(*CORPUS))) == [(4, "changed")]


def test_a_refresh_begun_in_a_dead_run_is_repeated(documents: DocumentLedger) -> None:
    first_run(documents)
    documents.begin_refresh(["doc-4"])

    assert changes(CorpusPass(documents).compare(stretch_of(*CORPUS))) == [(4, "refresh")]


@pytest.mark.parametrize("forgotten", ["doc-0", "doc-50", "doc-99"])
def test_a_forgotten_document_is_new_again(documents: DocumentLedger, forgotten: str) -> None:
    first_run(documents)
    documents.begin([(forgotten, 0)])
    documents.forget([forgotten])

    differences = CorpusPass(documents).compare(stretch_of(*CORPUS))

    assert [(d.entry.doc_id, d.change) for d in differences] == [(forgotten, "new")]


def test_a_repeated_stretch_is_a_duplicate_document_by_document(documents: DocumentLedger) -> None:
    first_run(documents)
    corpus_pass = CorpusPass(documents)
    corpus_pass.compare(stretch_of(*CORPUS))

    differences = corpus_pass.compare(stretch_of(*CORPUS))

    assert changes(differences) == [(place, "duplicate") for place in range(100)]


def test_a_stretch_is_sealed_only_when_the_ledger_confirms_it(documents: DocumentLedger) -> None:
    corpus_pass = CorpusPass(documents)
    corpus_pass.compare(stretch_of(*CORPUS))
    write(documents, *CORPUS[:-1])

    corpus_pass.seal()

    assert num_sealed(documents) == 0


def test_touching_a_document_drops_only_the_stretches_around_it(documents: DocumentLedger) -> None:
    more = [committed(f"more-{i}") for i in range(100)]
    corpus_pass = CorpusPass(documents)
    for corpus in (CORPUS, more):
        corpus_pass.compare(stretch_of(*corpus))
        write(documents, *corpus)
    corpus_pass.seal()

    documents.begin([("more-50", 1)])

    assert num_sealed(documents) == 1
    assert CorpusPass(documents).compare(stretch_of(*CORPUS)) == []


def test_stretches_that_a_full_pass_did_not_meet_are_dropped(documents: DocumentLedger) -> None:
    first_run(documents)
    corpus_pass = CorpusPass(documents)
    corpus_pass.compare(stretch_of(*CORPUS[:80]))

    corpus_pass.seal()

    assert num_sealed(documents) == 1
    assert [entry.doc_id for entry in corpus_pass.missing()] == [f"doc-{i}" for i in range(80, 100)]


def test_a_kept_document_is_neither_missing_nor_a_duplicate(documents: DocumentLedger) -> None:
    first_run(documents)
    corpus_pass = CorpusPass(documents)
    corpus_pass.compare(stretch_of(*CORPUS[:98]))

    corpus_pass.keep(["doc-98", "never heard of"])

    assert [entry.doc_id for entry in corpus_pass.missing()] == ["doc-99"]
    assert corpus_pass.compare(stretch_of(CORPUS[98])) == []


def test_missing_documents_may_be_forgotten_while_they_are_listed(
    documents: DocumentLedger,
) -> None:
    first_run(documents)

    for entry in CorpusPass(documents).missing():
        documents.forget([entry.doc_id])

    assert documents.num_documents() == 0


def test_a_removal_during_the_pass_does_not_hide_a_missing_document(
    documents: DocumentLedger,
) -> None:
    first_run(documents)
    corpus_pass = CorpusPass(documents)
    corpus_pass.compare(stretch_of(*CORPUS[:99]))
    documents.forget(["doc-0"])

    assert [entry.doc_id for entry in corpus_pass.missing()] == ["doc-99"]
