"""Layout of the ledger file, as migrations: a change and the record of it commit together."""

import sqlite3

from embed_index.schemas.errors import ConfigurationError

REBUILD_REMEDY = (
    "Remove the file together with its -wal and -shm companions: "
    "the ledger is a cache and is rebuilt from Milvus."
)

_VERSIONS = """
CREATE TABLE versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    collection_id TEXT NOT NULL
)
"""

# AUTOINCREMENT: a row id freed by a deletion must not return within a run, because the run
# remembers by row id which documents it has seen. The wide column stands last, so that reading
# the others never follows its overflow pages.
_DOCUMENTS = """
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version_id INTEGER NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
    doc_id TEXT NOT NULL,
    doc_hash TEXT,
    carried_hash TEXT,
    source TEXT NOT NULL DEFAULT '',
    num_chunks INTEGER NOT NULL DEFAULT 0,
    max_chunks INTEGER NOT NULL DEFAULT 0,
    last_run INTEGER,
    chunk_hashes BLOB NOT NULL DEFAULT x'',
    UNIQUE (version_id, doc_id)
)
"""

_STRETCHES = """
CREATE TABLE stretches (
    id INTEGER PRIMARY KEY,
    version_id INTEGER NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    is_sealed INTEGER NOT NULL,
    first_row INTEGER NOT NULL,
    last_row INTEGER NOT NULL,
    rows BLOB NOT NULL,
    UNIQUE (version_id, digest)
)
"""

_RUNS = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version TEXT NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT,
    outcome TEXT NOT NULL,
    exit_code INTEGER,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    counters TEXT NOT NULL,
    error TEXT NOT NULL DEFAULT ''
)
"""

_DEAD_LETTERS = """
CREATE TABLE dead_letters (
    version TEXT NOT NULL,
    key TEXT NOT NULL,
    doc_id TEXT,
    path TEXT NOT NULL,
    row_group INTEGER NOT NULL,
    row INTEGER NOT NULL,
    stage TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    chunk_index INTEGER,
    attempts INTEGER NOT NULL,
    first_seen TEXT NOT NULL,
    last_seen TEXT NOT NULL,
    last_run INTEGER NOT NULL,
    PRIMARY KEY (version, key)
) WITHOUT ROWID
"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        _VERSIONS,
        _DOCUMENTS,
        "CREATE INDEX pending_documents ON documents (version_id) WHERE doc_hash IS NULL",
        _STRETCHES,
        "CREATE INDEX stretch_rows ON stretches (version_id, is_sealed, first_row, last_row)",
        _RUNS,
        _DEAD_LETTERS,
    ),
    ("ALTER TABLE versions ADD COLUMN first_live_at TEXT",),
    ("ALTER TABLE versions ADD COLUMN is_flushed INTEGER NOT NULL DEFAULT 0",),
)
"""Statements that lead from file version N to N + 1, at index N; released ones never change."""


def migrate(
    connection: sqlite3.Connection,
    *,
    name: str,
    migrations: tuple[tuple[str, ...], ...] = MIGRATIONS,
) -> None:
    """Bring the file to the newest layout, one transaction a step.

    Args:
        connection: Open in autocommit mode (`isolation_level=None`).
        name: The file's path, for messages.
        migrations: The steps this code knows.

    Raises:
        ConfigurationError: A newer embed-index wrote the file, or it is no ledger at all.
    """
    while (version := _file_version(connection)) < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have migrated between the look and the lock.
            if _file_version(connection) == version:
                if version == 0:
                    _refuse_foreign_tables(connection, name=name)
                for statement in migrations[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    if version > len(migrations):
        raise ConfigurationError(
            f"{name}: the ledger has layout {version}, and this embed-index knows up to "
            f"{len(migrations)}.",
            remedy=f"Upgrade embed-index. Or: {REBUILD_REMEDY}",
        )


def _file_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _refuse_foreign_tables(connection: sqlite3.Connection, *, name: str) -> None:
    query = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~' LIMIT 1"
    if foreign := connection.execute(query).fetchone():
        raise ConfigurationError(
            f"{name}: a SQLite file of another program (it has `{foreign[0]}`), not a ledger.",
            remedy="Choose another state folder, or move the file away.",
        )
