"""What an audit must remember, on disk: the collection's rows, ids met, and what was found."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import orjson

from embed_index.pipeline.disk.scratch import open_scratch
from embed_index.pipeline.milvus.images import RowImage
from embed_index.schemas.audit_findings import DRIFT_KINDS, DriftCount, DriftKind, Finding

MAX_EXAMPLES = 5

_PAGE_ROWS = 4096
_IMAGE_COLUMNS = ", ".join(RowImage._fields)
_MARKS = "is_foreign, is_sampled DEFAULT 0, num_times DEFAULT 1"
_LAYOUT = (
    f"CREATE TABLE rows ({_IMAGE_COLUMNS}, {_MARKS}, PRIMARY KEY (chunk_id)) WITHOUT ROWID",
    "CREATE INDEX rows_by_document ON rows (doc_id) WHERE NOT is_foreign",
    *(
        f"CREATE TABLE {name} (id TEXT PRIMARY KEY) WITHOUT ROWID"
        for name in ("met", "kept", "refused", "affected", "superfluous", "untrusted")
    ),
    "CREATE TABLE departed (id TEXT PRIMARY KEY, is_recorded, has_rows) WITHOUT ROWID",
)
_TO_WRITE_AGAIN = frozenset(DRIFT_KINDS) - {"orphaned", "foreign"}
"""Kinds that are mended by writing the document again, with the vectors that can be kept."""


class AuditNotes:
    """Notes of one audit; one thread at a time takes and reads them."""

    def __init__(self, scratch: sqlite3.Connection) -> None:
        self._scratch = scratch
        self._counts: Counter[DriftKind] = Counter()
        self._examples: defaultdict[DriftKind, list[Finding]] = defaultdict(list)

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        """Yield empty notes, which go when the block is left.

        Raises:
            UnavailableError: The disk is full or fails.
        """
        with open_scratch(folder, *_LAYOUT) as scratch:
            yield cls(scratch)

    def take_rows(self, rows: Iterable[tuple[RowImage, bool]]) -> None:
        """Note the collection's rows, each with whether it is foreign."""
        places = ", ".join("?" * (len(RowImage._fields) + 1))
        self._scratch.executemany(
            f"INSERT INTO rows ({_IMAGE_COLUMNS}, is_foreign) VALUES ({places})"  # noqa: S608
            " ON CONFLICT DO UPDATE SET num_times = num_times + 1",
            ((*image, is_foreign) for image, is_foreign in rows),
        )

    def choose_sample(self, num_chunks: int) -> None:
        """Choose rows whose vectors will be made again, at random."""
        self._scratch.execute(
            "UPDATE rows SET is_sampled = 1 WHERE chunk_id IN"
            " (SELECT chunk_id FROM rows WHERE NOT is_foreign ORDER BY random() LIMIT ?)",
            (num_chunks,),
        )

    def rows_of(self, doc_ids: Sequence[str]) -> Mapping[str, list[RowImage]]:
        """Return the rows of each document that are under keys of ours."""
        found: defaultdict[str, list[RowImage]] = defaultdict(list)
        for row in self._select(
            f"SELECT {_IMAGE_COLUMNS} FROM json_each(?) j CROSS JOIN rows r"  # noqa: S608
            " ON r.doc_id = j.value AND NOT r.is_foreign",
            _json(doc_ids),
        ):
            image = RowImage._make(row)
            found[image.doc_id].append(image)
        return found

    def sampled(self, chunk_ids: Sequence[str]) -> set[str]:
        """Return those of the ids that are in the sample."""
        return self._matching("rows r ON r.chunk_id = j.value AND r.is_sampled", chunk_ids)

    def num_keys(self, *, low: str | None = None, high: str | None = None) -> int:
        """Count the keys from `low` up to, and without, `high`."""
        sql = "SELECT count(*) FROM rows WHERE chunk_id >= ?"
        bounds = [low or ""]
        if high is not None:
            sql, bounds = sql + " AND chunk_id < ?", [*bounds, high]
        return int(self._select(sql, *bounds)[0][0])

    def keys(self, *, low: str | None, high: str | None) -> list[str]:
        """Return the keys from `low` up to, and without, `high`."""
        sql = "SELECT chunk_id FROM rows WHERE chunk_id >= ?"
        bounds = [low or ""]
        if high is not None:
            sql, bounds = sql + " AND chunk_id < ?", [*bounds, high]
        return [key for (key,) in self._select(sql, *bounds)]

    def met_twice(self) -> Iterator[str]:
        """Yield the keys that reading the rows met more than once."""
        yield from (key for key, _ in self._pages("rows", "chunk_id", "num_times > 1"))

    def foreign(self) -> Iterator[tuple[str, str]]:
        """Yield key and document id of each foreign row."""
        return self._pages("rows", "chunk_id", "is_foreign", also="doc_id")

    def owner(self, chunk_id: str) -> str:
        """Return the document id of a row."""
        rows = self._select("SELECT doc_id FROM rows WHERE chunk_id = ?", chunk_id)
        return str(rows[0][0])

    def meet(self, doc_ids: Iterable[str]) -> list[bool]:
        """Note documents of the corpus; return for each whether its id was new."""
        return [
            self._scratch.execute("INSERT OR IGNORE INTO met VALUES (?)", (doc_id,)).rowcount == 1
            for doc_id in doc_ids
        ]

    def keep(self, doc_ids: Iterable[str]) -> None:
        """Note that unusable rows of the corpus bear these ids."""
        self._insert("kept", doc_ids)

    def take_refused(self, doc_ids: Iterable[str]) -> None:
        """Note documents that dead letters stand for."""
        self._insert("refused", doc_ids)

    def refused(self, doc_ids: Sequence[str]) -> set[str]:
        """Return those of the ids that dead letters stand for."""
        return self._matching("refused r ON r.id = j.value", doc_ids)

    def unmet(self, doc_ids: Sequence[str]) -> list[str]:
        """Return those of the ids that the corpus does not have."""
        sql = "SELECT j.value FROM json_each(?) j WHERE j.value NOT IN met AND j.value NOT IN kept"
        return [doc_id for (doc_id,) in self._select(sql, _json(doc_ids))]

    def note_departed(self) -> None:
        """Note the documents of the rows that the corpus does not have."""
        self._scratch.execute(
            "INSERT OR IGNORE INTO departed SELECT DISTINCT doc_id, 0, 1 FROM rows"
            " WHERE NOT is_foreign AND doc_id NOT IN met AND doc_id NOT IN kept"
        )

    def note_recorded(self, doc_ids: Iterable[str]) -> list[str]:
        """Note that the ledger knows departed documents; return those that have no row."""
        without_rows = []
        for doc_id in doc_ids:
            has_row = self._scratch.execute(
                "UPDATE departed SET is_recorded = 1 WHERE id = ?", (doc_id,)
            ).rowcount
            if not has_row:
                self._scratch.execute("INSERT INTO departed VALUES (?, 1, 0)", (doc_id,))
                without_rows.append(doc_id)
        return without_rows

    def departed_rows(self, *, recorded_too: bool) -> Iterator[tuple[str, str]]:
        """Yield key and document id of each row whose document the corpus does not have.

        Args:
            recorded_too: Whether also of documents that the ledger knows.
        """
        which = "" if recorded_too else "WHERE NOT is_recorded"
        condition = f"NOT is_foreign AND doc_id IN (SELECT id FROM departed {which})"  # noqa: S608
        return self._pages("rows", "chunk_id", condition, also="doc_id")

    def departed(self, *, has_rows: bool, recorded_too: bool) -> Iterator[str]:
        """Yield documents that the corpus does not have.

        Args:
            has_rows: Whether those with rows, or those that only the ledger knows.
            recorded_too: Whether also those that the ledger knows.
        """
        condition = f"has_rows = {has_rows:d}" + ("" if recorded_too else " AND NOT is_recorded")
        return (doc_id for doc_id, _ in self._pages("departed", "id", condition))

    def num_departed_recorded(self) -> int:
        """Count the documents with rows that the ledger knows and the corpus does not have."""
        sql = "SELECT count(*) FROM departed WHERE is_recorded AND has_rows"
        return int(self._select(sql)[0][0])

    def num_documents_with_rows(self) -> int:
        """Count the documents that have rows."""
        sql = "SELECT count(DISTINCT doc_id) FROM rows WHERE NOT is_foreign"
        return int(self._select(sql)[0][0])

    def add(self, finding: Finding) -> None:
        """Note a finding, and what mends it."""
        self._counts[finding.kind] += 1
        if len(examples := self._examples[finding.kind]) < MAX_EXAMPLES:
            examples.append(finding)
        if finding.kind in _TO_WRITE_AGAIN:
            self._insert("affected", [finding.doc_id])
        if finding.kind in {"vector", "duplicate"} and finding.chunk_id is not None:
            self._insert("untrusted", [finding.chunk_id])

    def add_superfluous(self, chunk_ids: Iterable[str]) -> None:
        """Note rows that must go."""
        self._insert("superfluous", chunk_ids)

    def drift(self) -> Mapping[DriftKind, DriftCount]:
        """Return what was found so far."""
        return {
            kind: DriftCount(count=self._counts[kind], examples=tuple(self._examples[kind]))
            for kind in DRIFT_KINDS
            if self._counts[kind]
        }

    def affected(self) -> Iterator[str]:
        """Yield the documents of the corpus that must be written again."""
        condition = "id IN (SELECT id FROM met)"
        return (doc_id for doc_id, _ in self._pages("affected", "id", condition))

    def take_affected(self, doc_ids: Sequence[str]) -> set[str]:
        """Return, only once, those of the ids that must be written again."""
        found = self._matching("affected r ON r.id = j.value", doc_ids)
        delete = "DELETE FROM affected WHERE id = ?"
        self._scratch.executemany(delete, ((doc_id,) for doc_id in found))
        return found

    def superfluous(self) -> Iterator[str]:
        """Yield the keys of rows that must go."""
        return (key for key, _ in self._pages("superfluous", "id", "1"))

    def untrusted(self, chunk_ids: Collection[str]) -> set[str]:
        """Return those of the ids whose stored vectors must not be kept."""
        return self._matching("untrusted r ON r.id = j.value", list(chunk_ids))

    def _matching(self, join: str, ids: Sequence[str]) -> set[str]:
        sql = f"SELECT j.value FROM json_each(?) j CROSS JOIN {join}"  # noqa: S608
        return {id_ for (id_,) in self._select(sql, _json(ids))}

    def _insert(self, table: str, ids: Iterable[str]) -> None:
        sql = f"INSERT OR IGNORE INTO {table} VALUES (?)"  # noqa: S608
        self._scratch.executemany(sql, ((id_,) for id_ in ids))

    def _pages(
        self, table: str, key: str, condition: str, *, also: str | None = None
    ) -> Iterator[tuple[str, str]]:
        """Yield key and another column in the key's order; notes may be taken meanwhile."""
        last = ""
        sql = (
            f"SELECT {key}, {also or key} FROM {table}"  # noqa: S608
            f" WHERE {key} > ? AND {condition} ORDER BY {key} LIMIT {_PAGE_ROWS}"
        )
        while page := self._select(sql, last):
            last = page[-1][0]
            yield from page

    def _select(self, sql: str, *parameters: str | int) -> list[Any]:
        return self._scratch.execute(sql, parameters).fetchall()


def _json(ids: Sequence[str]) -> str:
    return orjson.dumps(ids).decode()
