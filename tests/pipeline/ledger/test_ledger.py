import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ledger_samples import committed, only, write

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.entries import LedgerCounts, LedgerEntry
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.schemas.ids import text_hash


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


def test_a_recreated_collection_starts_empty(ledger: Ledger) -> None:
    write(ledger.documents("docs_v1", collection_id="first"), committed("a"))
    write(ledger.documents("docs_v2", collection_id="other"), committed("b"))

    recreated = ledger.documents("docs_v1", collection_id="second")

    assert list(recreated.entries()) == []
    assert ledger.versions() == {"docs_v2": "other", "docs_v1": "second"}
    other = ledger.documents("docs_v2", collection_id="other")
    assert [entry.doc_id for entry in other.entries()] == ["b"]


def test_the_same_collection_keeps_its_documents(path: Path) -> None:
    with Ledger(path) as ledger:
        write(ledger.documents("docs_v1", collection_id="first"), committed("a"))

    with Ledger(path) as ledger:
        documents = ledger.documents("docs_v1", collection_id="first")
        assert [entry.doc_id for entry in documents.entries()] == ["a"]


def test_versions_do_not_see_each_other(ledger: Ledger) -> None:
    first = ledger.documents("docs_v1", collection_id="first")
    second = ledger.documents("docs_v2", collection_id="second")
    write(first, committed("a", text="one"))
    write(second, committed("a", text="two"), committed("b"))

    first.forget(["a"])

    assert list(first.entries()) == []
    assert [entry.doc_id for entry in second.entries()] == ["a", "b"]
    assert second.num_documents() == 2


class LedgerAgainstDict(RuleBasedStateMachine):
    """Any sequence of calls and reopenings, against a dict of (hash, chunks, most chunks)."""

    doc_ids = st.sampled_from(["a", "b", "c", "d\0", "é"])

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[str, tuple[str | None, int, int]] = {}
        self.reopen()

    def reopen(self) -> None:
        self.ledger = Ledger(self.folder / "ledger.sqlite")
        self.documents = self.ledger.documents("docs_v1", collection_id="first")

    @rule(doc_id=doc_ids)
    def register(self, doc_id: str) -> None:
        self.documents.register([doc_id])
        self.model.setdefault(doc_id, (None, 0, 0))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), num_chunks=st.integers(0, 5))
    def begin(self, data: st.DataObject, num_chunks: int) -> None:
        doc_id = data.draw(st.sampled_from(sorted(self.model)))
        self.documents.begin([(doc_id, num_chunks)])
        _, held, most = self.model[doc_id]
        self.model[doc_id] = (None, held, max(most, num_chunks))

    @precondition(lambda self: any(entry[0] is None for entry in self.model.values()))
    @rule(data=st.data(), text=st.sampled_from("xyz"))
    def commit(self, data: st.DataObject, text: str) -> None:
        begun = sorted(d for d, entry in self.model.items() if entry[0] is None)
        doc_id = data.draw(st.sampled_from(begun))
        num_chunks = data.draw(st.integers(0, self.model[doc_id][2]))
        self.documents.commit([committed(doc_id, text=text, num_chunks=num_chunks)], run=1)
        self.model[doc_id] = (text_hash(text), num_chunks, num_chunks)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        doc_id = data.draw(st.sampled_from(sorted(self.model)))
        self.documents.forget([doc_id])
        del self.model[doc_id]

    @rule(doc_ids=st.lists(doc_ids, unique=True))
    def replace_all(self, doc_ids: list[str]) -> None:
        self.documents.replace_all(committed(doc_id) for doc_id in doc_ids)
        self.model = {doc_id: (text_hash("a"), 1, 1) for doc_id in doc_ids}

    @rule()
    def close_and_reopen(self) -> None:
        self.ledger.close()
        self.reopen()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        found = {e.doc_id: (e.doc_hash, e.num_chunks, e.max_chunks) for e in self._entries()}
        assert found == self.model
        assert {e.doc_id for e in self.documents.pending()} == {
            doc_id for doc_id, entry in self.model.items() if entry[0] is None
        }

    def _entries(self) -> list[LedgerEntry]:
        entries = list(self.documents.entries())
        assert self.documents.lookup([entry.doc_id for entry in entries]) == entries
        return entries

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)


TestLedgerAgainstDict = LedgerAgainstDict.TestCase
TestLedgerAgainstDict.settings = settings(max_examples=25, stateful_step_count=25)


def test_threads_share_one_ledger(documents: DocumentLedger) -> None:
    def index(worker: int) -> None:
        for number in range(20):
            write(documents, committed(f"{worker}-{number}"))
            assert only(documents, f"{worker}-{number}").doc_hash is not None

    with ThreadPoolExecutor(4) as pool:
        for finished in [pool.submit(index, worker) for worker in range(4)]:
            finished.result(timeout=60)

    assert documents.counts() == LedgerCounts(num_documents=80, num_pending=0, num_chunks=80)


def test_another_process_may_read_while_a_run_writes(path: Path, documents: DocumentLedger) -> None:
    write(documents, committed("a"))
    reads = "import sys; from pathlib import Path;"
    reads += "from embed_index.pipeline.ledger.ledger import Ledger;"
    reads += "print(Ledger(Path(sys.argv[1])).versions())"

    with documents.file.transaction() as connection:
        connection.execute("DELETE FROM versions")
        read = subprocess.run(
            [sys.executable, "-c", reads, str(path)], capture_output=True, text=True, timeout=60
        )

    assert read.stdout == "{'docs_v1': 'first'}\n", read.stderr
