"""A look at a corpus finds what a run would find, and leaves the ledger as it was."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_samples import committed, stretch_of, write

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerDocument
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.stages.comparison import CorpusPass, Difference
from embed_index.pipeline.stages.look import CorpusLook, SeenKeys

SEED = b"seed"
CORPUS = [committed(f"doc-{i}", text=f"text {i}") for i in range(200)]

documents_of_a_corpus = st.lists(
    st.builds(
        lambda number, text, carried: committed(
            f"doc-{number}", text=f"{text} {number}", carried=carried
        ),
        st.integers(0, 60),
        st.sampled_from(["as it was", "edited"]),
        st.sampled_from(["c", "other"]),
    ),
    max_size=90,
)


def in_stretches(corpus: Sequence[LedgerDocument], size: int) -> list[Sequence[LedgerDocument]]:
    return [corpus[start : start + size] for start in range(0, len(corpus), size)]


def found(differences: list[Difference], *, start: int) -> list[tuple[int, str]]:
    return [(start + place, change) for place, change, _ in differences]


def everything(documents: DocumentLedger) -> list[object]:
    tables = ("documents", "stretches", "stretch_documents", "touched_rows", "dead_chunks")
    return [documents.file.query(f"SELECT * FROM {table}") for table in tables]


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[DocumentLedger]:
    with Ledger(tmp_path / "docs.ledger") as ledger:
        yield ledger.documents("docs_v1", collection_id="first")


@given(
    before=documents_of_a_corpus,
    left_open=st.sets(st.integers(0, 60), max_size=5),
    now=documents_of_a_corpus,
    kept=st.sets(st.integers(0, 60), max_size=5),
    sizes=st.tuples(st.sampled_from([1, 7, 64, 90]), st.sampled_from([1, 7, 64, 90])),
)
def test_a_look_finds_what_a_pass_finds(
    before: list[LedgerDocument],
    left_open: set[int],
    now: list[LedgerDocument],
    kept: set[int],
    sizes: tuple[int, int],
) -> None:
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "docs.ledger") as ledger:
        documents = ledger.documents("docs_v1", collection_id="first")
        first = list({document.doc_id: document for document in before}.values())
        earlier = CorpusPass(documents)
        for stretch in in_stretches(first, sizes[0]):
            earlier.compare(stretch_of(*stretch))
        write(documents, *first)
        earlier.seal()
        begun = [f"doc-{number}" for number in left_open]
        documents.register(begun)
        documents.begin([(doc_id, 1) for doc_id in begun])
        state = everything(documents)

        look = CorpusLook(documents, seed=SEED)
        look.keep([f"doc-{number}" for number in kept])
        stretches = in_stretches(now, sizes[1])
        seen = [
            found(look.compare(stretch_of(*stretch)), start=number * sizes[1])
            for number, stretch in enumerate(stretches)
        ]
        missing = [entry.doc_id for entry in look.missing()]

        assert everything(documents) == state
        run = CorpusPass(documents)
        run.keep([f"doc-{number}" for number in kept])
        assert seen == [
            found(run.compare(stretch_of(*stretch)), start=number * sizes[1])
            for number, stretch in enumerate(stretches)
        ]
        assert missing == [entry.doc_id for entry in run.missing()]


def test_an_unchanged_stretch_is_known_without_a_look_at_its_documents(
    documents: DocumentLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = CorpusPass(documents)
    first.compare(stretch_of(*CORPUS))
    write(documents, *CORPUS)
    first.seal()
    monkeypatch.setattr(documents, "lookup", None)
    look = CorpusLook(documents, seed=SEED)

    assert look.compare(stretch_of(*CORPUS)) == []
    assert list(look.missing()) == []


def test_without_a_ledger_all_is_new_but_what_is_repeated() -> None:
    look = CorpusLook(None, seed=SEED)

    once = look.compare(stretch_of(*CORPUS[:3], CORPUS[1]))
    again = look.compare(stretch_of(CORPUS[4], CORPUS[0]))

    assert [change for _, change, _ in once] == ["new", "new", "new", "duplicate"]
    assert [change for _, change, _ in again] == ["new", "duplicate"]
    assert list(look.missing()) == []


@given(st.lists(st.lists(st.integers(0, 50), max_size=20), max_size=20))
def test_each_key_is_first_seen_once(batches: list[list[int]]) -> None:
    seen, known = SeenKeys(), set[int]()
    for batch in batches:
        first = seen.add(np.array(batch, dtype=np.uint64)).tolist()
        expected = []
        for key in batch:
            expected.append(key not in known)
            known.add(key)
        assert first == expected


def test_keys_of_ids_that_count_upwards_are_spread_evenly() -> None:
    numbered = stretch_of(*(committed(f"document-{number}") for number in range(20_000)))

    shares = CorpusLook(None, seed=SEED).keys(numbered) / 2.0**64

    counts = np.histogram(shares, bins=100, range=(0, 1))[0]
    # Of a fair draw the statistic is 99 on average and above 150 once in a thousand times; of a
    # lattice it is near 0.
    assert 55 < float(((counts - 200.0) ** 2 / 200).sum()) < 150
