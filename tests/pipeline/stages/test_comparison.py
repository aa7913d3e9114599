import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import committed, stretch_of, write

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerDocument, LedgerEntry
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.ledger.stretches import Stretches
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


CORPUS = [committed(f"doc-{i}", text=f"text {i}") for i in range(100)]


def first_run(documents: DocumentLedger) -> None:
    corpus_pass = CorpusPass(documents)
    corpus_pass.compare(stretch_of(*CORPUS))
    write(documents, *CORPUS)
    corpus_pass.seal()


def note_lookups(documents: DocumentLedger, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return a set that gets every id that is looked up among the ledger's documents."""
    looked_up: set[str] = set()
    lookup = documents.lookup

    def note(doc_ids: Sequence[str]) -> list[LedgerEntry | None]:
        looked_up.update(doc_ids)
        return lookup(doc_ids)

    monkeypatch.setattr(documents, "lookup", note)
    return looked_up


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


@pytest.mark.parametrize("num_in_front", [0, 1, 70])
def test_documents_that_moved_need_no_work_and_are_not_looked_up(
    documents: DocumentLedger, monkeypatch: pytest.MonkeyPatch, num_in_front: int
) -> None:
    first_run(documents)
    corpus = [*(committed(f"new-{i}") for i in range(num_in_front)), *CORPUS[::-1]]
    looked_up = note_lookups(documents, monkeypatch)
    corpus_pass = CorpusPass(documents)

    differences = corpus_pass.compare(stretch_of(*corpus))

    assert changes(differences) == [(place, "new") for place in range(num_in_front)]
    assert looked_up == {f"new-{i}" for i in range(num_in_front)}
    assert list(corpus_pass.missing()) == []


def test_a_new_order_is_known_the_night_after(documents: DocumentLedger) -> None:
    first_run(documents)
    moved = stretch_of(*CORPUS[::-1])
    corpus_pass = CorpusPass(documents)
    corpus_pass.compare(moved)
    corpus_pass.seal()
    before = documents.file.query("SELECT total_changes()")

    again = CorpusPass(documents)
    assert again.compare(moved) == []
    again.seal()

    assert documents.file.query("SELECT total_changes()") == before
    assert num_sealed(documents) == 1


@given(seed=st.integers(0, 2**32), num_touched=st.integers(0, 5), num_repeated=st.integers(0, 3))
@settings(max_examples=60)
def test_any_order_finds_just_what_is_not_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, seed: int, num_touched: int, num_repeated: int
) -> None:
    rng = random.Random(seed)
    with Ledger(tmp_path_factory.mktemp("any") / "docs.sqlite") as ledger:
        documents = ledger.documents("docs_v1", collection_id="first")
        first_run(documents)
        begun, refreshed, forgotten = (
            {x.doc_id for x in rng.sample(CORPUS, num_touched)} for _ in range(3)
        )
        refreshed -= begun | forgotten
        documents.begin_refresh(list(refreshed))
        documents.begin([(doc_id, 1) for doc_id in begun])
        documents.forget(list(forgotten))
        corpus = rng.sample(CORPUS, len(CORPUS))
        edited = {x.doc_id for x in rng.sample(corpus, num_touched)}
        corpus = [committed(x.doc_id, text="edited") if x.doc_id in edited else x for x in corpus]
        repeated = rng.sample(corpus, num_repeated)
        cut = rng.randint(1, len(corpus))
        corpus_pass = CorpusPass(documents)

        found = [
            (difference.entry.doc_id, difference.change)
            for part in (corpus[:cut], corpus[cut:], repeated)
            for difference in corpus_pass.compare(stretch_of(*part))
        ]

    changed = (begun | edited) - forgotten
    expected = [(doc_id, "new") for doc_id in forgotten]
    expected += [(doc_id, "changed") for doc_id in changed]
    expected += [(doc_id, "refresh") for doc_id in refreshed - edited]
    expected += [(x.doc_id, "duplicate") for x in repeated]
    assert sorted(found) == sorted(expected)


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
    corpus[3] = committed("doc-3", text="edited")
    corpus[8] = committed("doc-8", text="text 8", carried="edited")
    corpus[9] = committed("doc-0", text="text 0")
    corpus.append(committed("added"))
    corpus_pass = CorpusPass(documents)

    differences = corpus_pass.compare(stretch_of(*corpus))

    expected = [(3, "changed"), (8, "refresh"), (9, "duplicate"), (100, "new")]
    assert changes(differences) == expected
    assert [entry.doc_id for entry in corpus_pass.missing()] == ["doc-9"]


def test_a_document_begun_in_a_dead_run_is_changed_though_its_text_is_the_old_one(
    documents: DocumentLedger,
) -> None:
    first_run(documents)
    documents.begin([("doc-4", 1)])

    assert changes(CorpusPass(documents).compare(stretch_of(*CORPUS))) == [(4, "changed")]


def test_a_document_begun_and_never_committed_is_new(documents: DocumentLedger) -> None:
    first_run(documents)
    never = committed("never whole")
    documents.register([never.doc_id])
    documents.begin([(never.doc_id, 3)])

    (found,) = CorpusPass(documents).compare(stretch_of(*CORPUS, never))

    assert (found.place, found.change, found.entry.max_chunks) == (100, "new", 3)


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


def test_touching_a_document_leaves_the_others_known(
    documents: DocumentLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = [committed(f"more-{i}") for i in range(100)]
    corpus_pass = CorpusPass(documents)
    for corpus in (CORPUS, more):
        corpus_pass.compare(stretch_of(*corpus))
        write(documents, *corpus)
    corpus_pass.seal()

    documents.begin([("more-50", 1)])
    corpus_pass = CorpusPass(documents)
    looked_up = note_lookups(documents, monkeypatch)

    assert corpus_pass.compare(stretch_of(*CORPUS)) == []
    assert changes(corpus_pass.compare(stretch_of(*more))) == [(50, "changed")]
    assert looked_up == {"more-50"}


def test_what_a_pass_changed_is_sealed_at_its_end(documents: DocumentLedger) -> None:
    first_run(documents)
    corpus = [committed("doc-0", text="edited"), *CORPUS[1:]]
    corpus_pass = CorpusPass(documents)
    corpus_pass.compare(stretch_of(*corpus))
    write(documents, corpus[0])
    corpus_pass.seal()

    assert CorpusPass(documents).compare(stretch_of(*corpus)) == []
    assert changes(CorpusPass(documents).compare(stretch_of(*CORPUS))) == [(0, "changed")]


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


LARGE = [committed(f"doc-{i}", text=f"text {i}") for i in range(64 * 30)]


def compare_all(documents: DocumentLedger, corpus: Sequence[LedgerDocument]) -> list[str]:
    """Compare a corpus in stretches of 64; return the ids of what needs work."""
    corpus_pass = CorpusPass(documents)
    starts = range(0, len(corpus), 64)
    found = [
        difference.entry.doc_id
        for start in starts
        for difference in corpus_pass.compare(stretch_of(*corpus[start : start + 64]))
    ]
    write(documents, *(document for document in corpus if document.doc_id in set(found)))
    corpus_pass.seal()
    return found


def edited(document: LedgerDocument) -> LedgerDocument:
    return committed(document.doc_id, text=f"edited {document.doc_id}")


@pytest.mark.parametrize("num_in_front", [0, 1, 63, 64, 100])
def test_scattered_changes_are_found_without_reading_all_stretches(
    documents: DocumentLedger, monkeypatch: pytest.MonkeyPatch, num_in_front: int
) -> None:
    compare_all(documents, LARGE)
    new = [committed(f"new-{i}") for i in range(num_in_front)]
    changed = [edited(x) if i % 64 == 7 else x for i, x in enumerate(LARGE)]
    wanted = [x.doc_id for x in (*new, *changed[7::64])]
    looked_up = note_lookups(documents, monkeypatch)
    monkeypatch.setattr(Stretches, "_read_known", None)

    assert compare_all(documents, [*new, *changed]) == wanted
    assert looked_up == set(wanted)


def test_documents_that_moved_far_are_looked_up_only_while_they_are_few(
    documents: DocumentLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare_all(documents, LARGE)
    shuffled = random.Random(0).sample(LARGE, len(LARGE))
    looked_up = note_lookups(documents, monkeypatch)

    assert compare_all(documents, shuffled) == []
    assert len(looked_up) < len(LARGE) * 2 / 3
