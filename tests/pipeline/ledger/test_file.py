import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_samples import committed, only, stretch_of, write

from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.file import migrate
from embed_index.pipeline.ledger.layout import MIGRATIONS
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.stages.comparison import CorpusPass
from embed_index.schemas.errors import ConfigurationError, UnavailableError
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


DIES = """
import os, signal, sys
from pathlib import Path
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.ledger.entries import LedgerDocument

def document(text_hash):
    return LedgerDocument(doc_id="a", doc_hash=text_hash, carried_hash="c",
                          num_chunks=1, chunk_hashes=bytes(16))

ledger = Ledger(Path(sys.argv[1]))
documents = ledger.documents("docs_v1", collection_id="first")
run = ledger.runs.start("docs_v1")
documents.register(["a"])
documents.begin([("a", 1)])
documents.commit([document("old")], run=run.id)
steps = {
    "begun": lambda: documents.begin([("a", 7)]),
    "committed": lambda: documents.commit([document("new")], run=run.id),
}
for name, step in steps.items():
    step()
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
with documents.file.transaction() as connection:
    connection.execute("UPDATE documents SET doc_hash = 'torn'")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("begun", (None, 7)),
        ("committed", ("new", 1)),
        ("inside a transaction", ("new", 1)),
    ],
)
def test_a_killed_process_leaves_what_it_recorded(
    path: Path, moment: str, expected: tuple[str | None, int]
) -> None:
    died = subprocess.run([sys.executable, "-c", DIES, str(path), moment], timeout=60)
    assert died.returncode == -signal.SIGKILL

    with Ledger(path) as ledger:
        entry = only(ledger.documents("docs_v1", collection_id="first"), "a")
        run = ledger.runs.last()

    assert (entry.doc_hash, entry.max_chunks) == expected
    assert run is not None
    assert run.outcome == "running"


@pytest.mark.parametrize("size", [1, 5000])
def test_a_damaged_file_is_named_with_the_remedy(path: Path, size: int) -> None:
    path.parent.mkdir()
    path.write_bytes(os.urandom(size) * 2)

    with pytest.raises(ConfigurationError, match="damaged") as raised:
        Ledger(path)

    assert str(path) in raised.value.message
    assert "rebuilt from Milvus" in raised.value.remedy


def test_a_file_that_is_damaged_inside_is_named_when_it_is_read(path: Path) -> None:
    with Ledger(path) as ledger:
        documents = ledger.documents("docs_v1", collection_id="first")
        documents.register(f"doc-{i}" for i in range(5000))
    with path.open("r+b") as file:
        file.seek(40 * 4096)
        file.write(os.urandom(40 * 4096))

    with Ledger(path) as ledger, pytest.raises(ConfigurationError, match="damaged"):
        list(ledger.documents("docs_v1", collection_id="first").entries())


def test_a_file_whose_layout_is_garbled_is_named(path: Path) -> None:
    Ledger(path).close()
    garbled = path.read_bytes().replace(b"CREATE TABLE versions", b"CREATE TABLE (ersions")
    path.write_bytes(garbled.replace(b"tableversions", b"tablev\x9ersions"))

    with pytest.raises(ConfigurationError, match="damaged"):
        Ledger(path)


def test_a_newer_file_is_refused(path: Path) -> None:
    Ledger(path).close()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.close()

    with pytest.raises(ConfigurationError, match=f"layout {len(MIGRATIONS) + 1}") as raised:
        Ledger(path)

    assert "Upgrade embed-index" in raised.value.remedy


def test_another_programs_file_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE recipes (name)")

    with pytest.raises(ConfigurationError, match="recipes"):
        Ledger(path)

    assert foreign.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
    foreign.close()


def test_a_migration_that_fails_leaves_the_older_layout(path: Path) -> None:
    Ledger(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    steps = (*MIGRATIONS, ("CREATE TABLE half (x)", "CREATE TABLE documents (x)"))

    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, name="ledger", migrations=steps)

    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    assert "half" not in tables
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()


def test_a_migration_keeps_the_documents(path: Path) -> None:
    with Ledger(path) as ledger:
        write(ledger.documents("docs_v1", collection_id="first"), committed("a"))
    connection = sqlite3.connect(path, isolation_level=None)
    steps = (*MIGRATIONS, ("ALTER TABLE documents ADD COLUMN language TEXT",))

    migrate(connection, name="ledger", migrations=steps)

    rows = connection.execute("SELECT doc_id, language FROM documents").fetchall()
    assert rows == [("a", None)]
    connection.close()


def test_a_ledger_that_counted_positions_keeps_its_documents(path: Path) -> None:
    path.parent.mkdir()
    older = sqlite3.connect(path, isolation_level=None)
    migrate(older, name="ledger", migrations=MIGRATIONS[:3])
    columns = [text_hash("text 1"), text_hash("c"), "f.parquet#0:7"]
    older.executescript(
        "INSERT INTO versions (id, name, collection_id) VALUES (1, 'docs_v1', 'first');"
        "INSERT INTO stretches VALUES (1, 1, x'00', 1, 1, 1, x'0100000000000000');"
    )
    older.execute(
        "INSERT INTO documents (version_id, doc_id, doc_hash, carried_hash, source, num_chunks,"
        " max_chunks, last_run) VALUES (1, 'a', ?, ?, ?, 1, 1, 1)",
        columns,
    )
    older.close()

    with Ledger(path) as ledger:
        documents = ledger.documents("docs_v1", collection_id="first")
        differences = CorpusPass(documents).compare(stretch_of(committed("a", text="text 1")))

    assert differences == []


def test_a_folder_in_place_of_the_file_is_named(path: Path) -> None:
    path.mkdir(parents=True)

    with pytest.raises(ConfigurationError, match="cannot be opened"):
        Ledger(path)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")

    with pytest.raises(ConfigurationError, match="cannot be created"):
        Ledger(tmp_path / "state" / "docs.sqlite")


def test_a_full_disk_loses_nothing_and_is_resumable(
    documents: DocumentLedger,
) -> None:
    write(documents, committed("a"))
    ((pages,),) = documents.file.query("PRAGMA page_count")
    documents.file.query(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(UnavailableError, match="full"):
        documents.register(f"doc-{i}" for i in range(5000))

    documents.file.query("PRAGMA max_page_count = 1000000")
    assert [entry.doc_id for entry in documents.entries()] == ["a"]
    write(documents, committed("b"))
    assert documents.num_documents() == 2


def test_every_commit_is_flushed_to_the_disk(documents: DocumentLedger) -> None:
    settings_found = [documents.file.query(f"PRAGMA {p}") for p in ("journal_mode", "synchronous")]

    assert settings_found == [[("wal",)], [(2,)]]
