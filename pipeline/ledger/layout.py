"""The layout of the ledger's file, as migrations from one version to the next."""

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

_FIRST_STRETCHES = """
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

# Row ids and digests of the documents stand apart, so that sealing does not write them again.
_STRETCHES = """
CREATE TABLE stretches (
    id INTEGER PRIMARY KEY,
    version_id INTEGER NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    is_sealed INTEGER NOT NULL,
    last_row INTEGER NOT NULL,
    UNIQUE (version_id, digest)
)
"""

_STRETCH_DOCUMENTS = """
CREATE TABLE stretch_documents (
    stretch_id INTEGER PRIMARY KEY REFERENCES stretches (id) ON DELETE CASCADE,
    rows BLOB NOT NULL,
    digests BLOB NOT NULL,
    unproven BLOB NOT NULL
)
"""

_TOUCHED_ROWS = """
CREATE TABLE touched_rows (
    id INTEGER PRIMARY KEY,
    version_id INTEGER NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
    rows BLOB NOT NULL
)
"""

# Few, and apart from the documents, whose widest column must stay the last one.
_DEAD_CHUNKS = """
CREATE TABLE dead_chunks (
    document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    chunk_index INTEGER NOT NULL,
    PRIMARY KEY (document, chunk_index)
) WITHOUT ROWID
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

# About a version by its name, without a reference: what is known of a version outlives it.
_FIGURES = """
CREATE TABLE figures (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    version TEXT NOT NULL,
    run_id INTEGER,
    recorded_at TEXT NOT NULL,
    content TEXT NOT NULL
)
"""

# The schemas apart, because most files have the same one.
_FILE_SCHEMAS = """
CREATE TABLE file_schemas (
    id INTEGER PRIMARY KEY,
    content BLOB NOT NULL UNIQUE
)
"""

_FILES = """
CREATE TABLE files (
    version_id INTEGER NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    num_bytes INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    digest BLOB,
    num_rows INTEGER NOT NULL,
    schema_id INTEGER NOT NULL REFERENCES file_schemas (id),
    stretches BLOB NOT NULL,
    PRIMARY KEY (version_id, name)
)
"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        _VERSIONS,
        _DOCUMENTS,
        "CREATE INDEX pending_documents ON documents (version_id) WHERE doc_hash IS NULL",
        _FIRST_STRETCHES,
        "CREATE INDEX stretch_rows ON stretches (version_id, is_sealed, first_row, last_row)",
        _RUNS,
        _DEAD_LETTERS,
    ),
    ("ALTER TABLE versions ADD COLUMN first_live_at TEXT",),
    ("ALTER TABLE versions ADD COLUMN is_flushed INTEGER NOT NULL DEFAULT 0",),
    # Positions no longer count. The column `source` of the documents is left behind unused, because
    # dropping it would write the whole table again; a metadata hash that a move had begun to
    # replace stays unknown, and its document is refreshed once.
    (
        "DROP TABLE stretches",
        _STRETCHES,
        "CREATE INDEX sealed_rows ON stretches (version_id, is_sealed, last_row)",
        _STRETCH_DOCUMENTS,
        _TOUCHED_ROWS,
        "CREATE INDEX touched_rows_of_version ON touched_rows (version_id)",
    ),
    (_DEAD_CHUNKS,),
    # Documents are digested otherwise: the next run looks each one up, and seals anew.
    (
        "DELETE FROM stretches",
        "DELETE FROM touched_rows",
        "ALTER TABLE stretch_documents ADD COLUMN proofs BLOB NOT NULL DEFAULT x''",
        "ALTER TABLE versions ADD COLUMN digest_seed BLOB NOT NULL DEFAULT x''",
        "UPDATE versions SET digest_seed = randomblob(32)",
    ),
    (_FIGURES, "CREATE INDEX figures_of_run ON figures (run_id, kind)"),
    # Stretches no longer reach over the borders of files; those that do are found by document.
    (_FILE_SCHEMAS, _FILES, "CREATE INDEX files_of_schema ON files (schema_id)"),
)
"""Statements that lead from file version N to N + 1, at index N; released ones never change."""
