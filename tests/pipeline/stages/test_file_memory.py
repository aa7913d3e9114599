"""Files that are as they were are not read, and nothing else passes for unchanged."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_index.pipeline.corpus import looks
from embed_index.pipeline.corpus.opening import open_parquet
from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.pipeline.ledger.entries import LedgerDocument
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.stages import file_memory
from embed_index.pipeline.stages.comparison import CorpusPass
from embed_index.pipeline.stages.file_memory import FileMemory
from embed_index.pipeline.stages.stopping import until_stopped
from embed_index.pipeline.stages.tally import RunTally
from embed_index.schemas.ids import text_hash

Rows = dict[str, str]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "state" / "docs.sqlite") as opened:
        yield opened


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of every file that is opened as Parquet."""
    names: list[str] = []

    def note(file: Path, **more: object) -> pq.ParquetFile:
        names.append(file.name)
        return open_parquet(file, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("embed_index.pipeline.corpus.parquet.open_parquet", note)
    return names


def write(file: Path, rows: Rows, **more: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": list(rows), "text": list(rows.values())})
    pq.write_table(table, file, compression="none", **more)


class Night:
    """A pass over a corpus whose documents are committed as soon as they are compared."""

    def __init__(self, ledger: Ledger, folder: Path, **job: object) -> None:
        known = ledger.files.by_name()
        columns = {"id_column": "id", "text_columns": ["text"]} | job
        source = ParquetSource([str(folder)], known_files=known, **columns)  # type: ignore[arg-type]
        self.documents = ledger.documents("docs_v1", collection_id="first")
        self.corpus_pass = CorpusPass(self.documents)
        self.tally = RunTally()
        self.stopping = threading.Event()
        memory = FileMemory(
            self.documents, corpus_pass=self.corpus_pass, tally=self.tally, stopping=self.stopping
        )
        self.changes: dict[str, str] = {}
        self.texts: Rows = {}
        """As they were read."""
        for rows in source.read(memory):
            self.corpus_pass.keep([x.doc_id for x in rows.dead_letters if x.doc_id is not None])
            self.corpus_pass.keep(rows.ids_left_out)
            differences = self.corpus_pass.compare(rows)
            for place, doc_id in enumerate(rows.doc_ids):
                self.texts.setdefault(doc_id, str(rows.texts[place]))
            for difference in differences:
                place = difference.place
                doc_id = rows.doc_ids[place]
                self.changes[doc_id] = difference.change
                if difference.change != "duplicate":
                    self._commit(doc_id, rows.doc_hashes[place], rows.carried_hashes[place])
        self.missing = {entry.doc_id for entry in self.corpus_pass.missing()}
        if self.missing:
            self.documents.forget(sorted(self.missing))
        memory.seal(self.corpus_pass.seal())

    def _commit(self, doc_id: str, doc_hash: str, carried_hash: str) -> None:
        self.documents.begin([(doc_id, 1)])
        done = LedgerDocument(
            doc_id=doc_id,
            doc_hash=doc_hash,
            carried_hash=carried_hash,
            num_chunks=1,
            chunk_hashes=bytes(16),
        )
        self.documents.commit([done], run=1)


def rows(start: int, end: int) -> Rows:
    return {f"d{n}": f"text number {n:03}" for n in range(start, end)}


def test_a_file_that_is_as_it_was_is_not_opened(
    ledger: Ledger, tmp_path: Path, opened: list[str]
) -> None:
    folder = tmp_path / "corpus"
    write(folder / "a.parquet", rows(0, 3))
    write(folder / "b.parquet", rows(3, 80), row_group_size=10)
    Night(ledger, folder)
    opened.clear()

    night = Night(ledger, folder)

    assert opened == []
    assert (night.changes, night.missing) == ({}, set())
    assert (night.tally.num_documents_read, night.tally.num_unchanged) == (80, 80)


def test_of_many_files_that_are_as_they_were_only_one_that_lost_its_proof_is_opened(
    ledger: Ledger, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_MAX_RUN_FILES", 4)
    folder = tmp_path / "corpus"
    for number in range(10):
        write(folder / f"{number}.parquet", rows(3 * number, 3 * number + 3))
    first = Night(ledger, folder)
    first.documents.begin([("d16", 1)])
    opened.clear()

    night = Night(ledger, folder)

    assert opened == ["5.parquet"]
    assert (night.changes, night.missing) == ({"d16": "changed"}, set())
    assert night.tally.num_documents_read == 27


def test_files_that_are_renamed_or_joined_by_others_are_not_read(
    ledger: Ledger, tmp_path: Path
) -> None:
    folder = tmp_path / "corpus"
    write(folder / "a.parquet", rows(0, 3))
    write(folder / "b.parquet", rows(3, 6))
    Night(ledger, folder)
    (folder / "a.parquet").rename(folder / "z.parquet")
    write(folder / "c.parquet", rows(6, 9))

    night = Night(ledger, folder)

    assert night.texts == rows(6, 9)
    assert night.changes == dict.fromkeys(rows(6, 9), "new")
    assert Night(ledger, folder).texts == {}


def test_content_decides_and_not_size_and_time(ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "corpus" / "a.parquet"
    write(file, rows(0, 3))
    Night(ledger, file.parent)
    before = file.stat()
    write(file, rows(0, 3) | {"d1": "text number 901"})
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)

    night = Night(ledger, file.parent)

    assert night.changes == {"d1": "changed"}


def test_what_was_touched_since_is_read(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    write(folder / "a.parquet", rows(0, 3))
    write(folder / "b.parquet", rows(3, 6))
    documents = Night(ledger, folder).documents
    documents.begin_refresh(["d4"])

    night = Night(ledger, folder)

    assert night.texts == rows(3, 6)
    assert night.changes == {"d4": "refresh"}
    assert Night(ledger, folder).texts == {}


@pytest.mark.parametrize(
    ("spoilt", "change"),
    [({"": "no id"}, {}), ({"d0": "there twice"}, {"d0": "duplicate"})],
    ids=["dead letter", "repeated id"],
)
def test_a_file_not_all_of_whose_rows_are_documents_is_read_every_night(
    ledger: Ledger, tmp_path: Path, spoilt: Rows, change: dict[str, str]
) -> None:
    folder = tmp_path / "corpus"
    write(folder / "a.parquet", rows(0, 3))
    write(folder / "b.parquet", rows(3, 5) | spoilt)
    Night(ledger, folder)

    night = Night(ledger, folder)

    assert night.changes == change
    assert rows(3, 5).items() <= night.texts.items()
    assert "d1" not in night.texts


def test_a_copy_of_a_known_file_is_read_and_its_ids_are_repeated_ones(
    ledger: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "corpus" / "a.parquet"
    write(file, rows(0, 3))
    Night(ledger, file.parent)
    (file.parent / "b.parquet").write_bytes(file.read_bytes())

    for _ in range(2):
        assert Night(ledger, file.parent).changes == dict.fromkeys(rows(0, 3), "duplicate")


def test_the_first_of_two_rows_counts_when_a_known_file_has_the_second(
    ledger: Ledger, tmp_path: Path
) -> None:
    folder = tmp_path / "corpus"
    write(folder / "a.parquet", rows(0, 3))
    write(folder / "b.parquet", rows(3, 6))
    Night(ledger, folder)
    write(folder / "a.parquet", rows(0, 3) | {"d4": "of the first file"})

    night = Night(ledger, folder)

    assert night.texts == rows(0, 6) | {"d4": "of the first file"}
    (entry,) = night.documents.lookup(["d4"])
    assert entry is not None
    assert entry.doc_hash == text_hash("of the first file")


def test_a_file_that_would_be_read_otherwise_is_read(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    write(folder / "a.parquet", rows(0, 3))
    Night(ledger, folder)

    assert Night(ledger, folder, where="id != 'd1'").texts.keys() == {"d0", "d2"}
    assert Night(ledger, folder, id_column="text", text_columns=["id"]).changes == dict.fromkeys(
        rows(0, 3).values(), "new"
    )


def test_a_file_that_moves_to_another_partition_is_read(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    write(folder / "lang=de" / "a.parquet", rows(0, 3))
    Night(ledger, folder, carry=["lang"])
    (folder / "lang=de").rename(folder / "lang=fr")

    night = Night(ledger, folder, carry=["lang"])

    assert night.changes == dict.fromkeys(rows(0, 3), "refresh")


def test_ids_of_places_follow_the_file(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    write(folder / "a.parquet", rows(0, 2))
    Night(ledger, folder, id_from="place")
    (folder / "a.parquet").rename(folder / "b.parquet")

    night = Night(ledger, folder, id_from="place")

    assert night.changes == {"b.parquet#0": "new", "b.parquet#1": "new"}
    assert night.missing == {"a.parquet#0", "a.parquet#1"}


def test_large_files_that_change_every_night_are_not_hashed(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_memory, "_SMALL_BYTES", 0)
    file = tmp_path / "corpus" / "a.parquet"

    def is_hashed() -> bool:
        return ledger.files.by_name()["a.parquet"].digest is not None

    write(file, rows(0, 3))
    Night(ledger, file.parent)
    assert is_hashed()
    write(file, rows(0, 4))
    assert Night(ledger, file.parent).changes == {"d3": "new"}
    assert not is_hashed()
    # As large as the night before: now it may pay.
    assert Night(ledger, file.parent).texts == rows(0, 4)
    assert is_hashed()
    assert Night(ledger, file.parent).texts == {}


def test_a_stop_ends_the_hashing(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(bytes(100))
    monkeypatch.setattr(file_memory, "_BLOCK_BYTES", 10)
    documents = ledger.documents("docs_v1", collection_id="first")
    stopping = threading.Event()
    memory = FileMemory(
        documents, corpus_pass=CorpusPass(documents), tally=RunTally(), stopping=stopping
    )

    def digests() -> Iterator[bytes | None]:
        yield memory.digest(file, num_bytes=100, reading=b"")
        stopping.set()
        yield memory.digest(file, num_bytes=100, reading=b"")

    assert len(list(until_stopped(digests()))) == 1


files = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.dictionaries(st.sampled_from("uvwxyz"), st.sampled_from(["one", "two", "six"]), min_size=1),
    min_size=1,
)


@settings(max_examples=60)
@given(nights=st.lists(files, min_size=2, max_size=5))
def test_whatever_becomes_of_the_files_the_ledger_has_the_corpus(
    nights: list[dict[str, Rows]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("nights")
    with Ledger(folder / "docs.sqlite") as ledger:
        for night in [*nights, nights[-1]]:
            for old in (folder / "corpus").glob("*"):
                old.unlink()
            expected: Rows = {}
            for name, content in sorted(night.items()):
                write(folder / "corpus" / f"{name}.parquet", content)
                expected = content | expected
            done = Night(ledger, folder / "corpus")

            entries = done.documents.lookup(sorted(expected))
            hashes = {entry.doc_id: entry.doc_hash for entry in entries if entry is not None}
            assert hashes == {doc_id: text_hash(text) for doc_id, text in expected.items()}
            assert done.documents.num_documents() == len(expected)
            assert done.tally.num_unchanged + len(done.texts) >= len(expected)
