"""The dead letters that are open now: what could not be indexed and still is not."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from embed_index.pipeline.ledger.file import LedgerFile
from embed_index.schemas.records import DeadLetter, SourceRow

_PAGE_ROWS = 1024


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
    closes its letter.
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

        Documents that are still registered and not committed keep theirs.
        """
        with self._file.transaction() as connection:
            connection.execute(
                "DELETE FROM dead_letters WHERE version = ? AND last_run < ?"
                " AND (key LIKE 'row:%' OR NOT EXISTS (SELECT 1 FROM documents d"
                " JOIN versions v ON v.id = d.version_id WHERE v.name = dead_letters.version"
                " AND d.doc_id = dead_letters.doc_id AND d.doc_hash IS NULL))",
                (version, run),
            )

    def close_rows(self, version: str, rows: Iterable[SourceRow], *, run: int) -> None:
        """Close the letters of rows that a run could read and did not refuse again."""
        with self._file.transaction() as connection:
            connection.executemany(
                "DELETE FROM dead_letters WHERE version = ? AND key = ? AND last_run < ?",
                ((version, printable(f"row:{row}"), run) for row in rows),
            )

    def open(self, version: str) -> Iterator[OpenDeadLetter]:
        """Yield the open letters of a version; the ledger may be written to meanwhile."""
        last = ""
        sql = (
            "SELECT key, doc_id, path, row_group, row, stage, reason, detail, chunk_index,"
            " attempts, first_seen, last_seen, last_run FROM dead_letters"
            " WHERE version = ? AND key > ? ORDER BY key LIMIT ?"
        )
        while page := self._file.query(sql, (version, last, _PAGE_ROWS)):
            last = page[-1][0]
            for row in page:
                _, doc_id, path, group, place, stage, reason, detail, chunk, attempts, *seen = row
                yield OpenDeadLetter(
                    letter=DeadLetter(
                        source=SourceRow(path=path, row_group=group, row=place),
                        stage=stage,
                        reason=reason,
                        detail=detail,
                        doc_id=doc_id,
                        chunk_index=chunk,
                        attempts=attempts,
                    ),
                    first_seen=datetime.fromisoformat(seen[0]),
                    last_seen=datetime.fromisoformat(seen[1]),
                    last_run=seen[2],
                )

    def count(self, version: str) -> int:
        """Count the open letters of a version."""
        sql = "SELECT count(*) FROM dead_letters WHERE version = ?"
        return int(self._file.query(sql, (version,))[0][0])


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
