"""The dead letters that are open now: what could not be indexed and still is not."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from embed_index.pipeline.ledger.file import LedgerFile
from embed_index.schemas.records import DeadLetter, SourceRow, Stage

_PAGE_ROWS = 1024
_LATEST = "9999"
_LETTER = (
    "l.doc_id, l.path, l.row_group, l.row, l.stage, l.reason, l.detail, l.chunk_index, l.attempts"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDeadLetter:
    """A dead letter with its history over the runs."""

    letter: DeadLetter
    """`attempts` is summed over the runs."""
    first_seen: datetime
    last_seen: datetime
    last_run: int


class OpenDeadLetters:
    """Open dead letters of every version; any thread may call.

    A row that was refused while reading is known by its place, because its id may be absent or
    belong to another row; a document that failed later is known by its id, and committing it
    whole closes its letter.
    """

    def __init__(self, file: LedgerFile) -> None:
        self._file = file

    def record(self, letters: Sequence[DeadLetter], *, version: str, run: int) -> list[DeadLetter]:
        """Open letters durably; one that is open already gains the attempts.

        Returns:
            The letters, with their attempts summed over the runs.
        """
        now = datetime.now(UTC).isoformat()
        stored = [_stored(letter) for letter in letters]
        with self._file.transaction() as connection:
            connection.executemany(
                "INSERT INTO dead_letters (version, key, doc_id, path, row_group, row, stage, "
                " reason, detail, chunk_index, attempts, first_seen, last_seen, last_run)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (version, key) DO UPDATE SET doc_id = excluded.doc_id,"
                " path = excluded.path, row_group = excluded.row_group, row = excluded.row,"
                " stage = excluded.stage, reason = excluded.reason, detail = excluded.detail,"
                " chunk_index = excluded.chunk_index, attempts = attempts + excluded.attempts,"
                " last_seen = excluded.last_seen, last_run = excluded.last_run",
                ((version, *columns, now, now, run) for columns in stored),
            )
            select = "SELECT attempts FROM dead_letters WHERE version = ? AND key = ?"
            return [
                replace(letter, attempts=connection.execute(select, (version, key)).fetchone()[0])
                for letter, (key, *_) in zip(letters, stored, strict=True)
            ]

    def close_unseen(self, version: str, *, run: int) -> None:
        """Close the letters that a complete run did not meet again: their rows are mended or gone.

        Documents that are still registered and not committed whole keep theirs.
        """
        with self._file.transaction() as connection:
            connection.execute(
                "DELETE FROM dead_letters WHERE version = ? AND last_run < ?"
                " AND (key LIKE 'row:%' OR NOT EXISTS (SELECT 1 FROM documents d"
                " JOIN versions v ON v.id = d.version_id WHERE v.name = dead_letters.version"
                " AND d.doc_id = dead_letters.doc_id AND (d.doc_hash IS NULL OR EXISTS"
                " (SELECT 1 FROM dead_chunks c WHERE c.document = d.id))))",
                (version, run),
            )

    def close_rows(self, version: str, rows: Iterable[SourceRow], *, run: int) -> None:
        """Close the letters of rows that a run could read and did not refuse again."""
        with self._file.transaction() as connection:
            connection.executemany(
                "DELETE FROM dead_letters WHERE version = ? AND key = ? AND last_run < ?",
                ((version, printable(f"row:{row}"), run) for row in rows),
            )

    def open(
        self, version: str, *, last_seen_before: datetime | None = None
    ) -> Iterator[OpenDeadLetter]:
        """Yield the open letters of a version; the ledger may be written to meanwhile.

        Args:
            version: The collection version.
            last_seen_before: Leaves out those that failed at this time or later; None for all.
        """
        last = ""
        before = _LATEST if last_seen_before is None else last_seen_before.isoformat()
        sql = (
            f"SELECT l.key, {_LETTER}, first_seen, last_seen, last_run FROM dead_letters l"  # noqa: S608
            " WHERE version = ? AND key > ? AND last_seen < ? ORDER BY key LIMIT ?"
        )
        while page := self._file.query(sql, (version, last, before, _PAGE_ROWS)):
            last = page[-1][0]
            for _, *letter, first_seen, last_seen, last_run in page:
                yield OpenDeadLetter(
                    letter=_letter(*letter),
                    first_seen=datetime.fromisoformat(first_seen),
                    last_seen=datetime.fromisoformat(last_seen),
                    last_run=last_run,
                )

    def of_dead_chunks(self, version: str, *, run: int) -> Iterator[list[tuple[int, DeadLetter]]]:
        """Yield, in steps, the dead chunks of committed documents that a run did not try.

        Each comes as its document's row and a letter, which has the reason for the last of the
        document's dead chunks.
        """
        last = (0, -1)
        sql = (
            f"SELECT c.document, c.chunk_index, {_LETTER} FROM dead_chunks c"  # noqa: S608
            " JOIN documents d ON d.id = c.document JOIN versions v ON v.id = d.version_id"
            " JOIN dead_letters l ON l.version = v.name AND l.key = 'document:' || d.doc_id"
            " WHERE v.name = ? AND l.last_run < ? AND (c.document, c.chunk_index) > (?, ?)"
            " ORDER BY c.document, c.chunk_index LIMIT ?"
        )
        while page := self._file.query(sql, (version, run, *last, _PAGE_ROWS)):
            last = page[-1][:2]
            yield [
                (row, replace(_letter(*letter), chunk_index=index)) for row, index, *letter in page
            ]

    def count(self, version: str) -> int:
        """Count the open letters of a version."""
        sql = "SELECT count(*) FROM dead_letters WHERE version = ?"
        return int(self._file.query(sql, (version,))[0][0])


def _letter(
    doc_id: str | None,
    path: str,
    row_group: int,
    row: int,
    stage: Stage,
    reason: str,
    detail: str,
    chunk_index: int | None,
    attempts: int,
) -> DeadLetter:
    return DeadLetter(
        source=SourceRow(path=path, row_group=row_group, row=row),
        stage=stage,
        reason=reason,
        detail=detail,
        doc_id=doc_id,
        chunk_index=chunk_index,
        attempts=attempts,
    )


def _stored(letter: DeadLetter) -> tuple[str | int | None, ...]:
    source = letter.source
    by_place = letter.stage == "read" or letter.doc_id is None
    key = f"row:{source}" if by_place else f"document:{letter.doc_id}"
    return (
        printable(key),
        None if letter.doc_id is None else printable(letter.doc_id),
        printable(source.path),
        source.row_group,
        source.row,
        letter.stage,
        letter.reason,
        printable(letter.detail),
        letter.chunk_index,
        letter.attempts,
    )


def printable(text: str) -> str:
    r"""Write lone surrogates, which no file takes, as `\udc80`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
