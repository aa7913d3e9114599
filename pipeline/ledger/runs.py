"""What each run did: when, where, with which outcome and counts."""

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self, TypeAlias

from embed_index.pipeline.ledger.file import LedgerFile
from embed_index.pipeline.ledger.letters import printable
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.summary import RunCounters

Outcome: TypeAlias = Literal[
    "running", "done", "mended", "partial", "dead_letters", "failed", "interrupted"
]
"""`mended` is a repair or a retry that went well, `partial` a run with a limit. They leave the
rest of the collection as it was, and so do not make it fresh."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_COLUMNS = (
    "id, version, started_at, finished_at, outcome, exit_code, host, pid, boot_id, counters, error"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrigin:
    """The process that runs."""

    host: str
    pid: int
    boot_id: str
    """Tells a process of an earlier boot from one with the same id; empty where unknown."""

    @classmethod
    def current(cls) -> Self:
        """Describe this process."""
        boot_id = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        return cls(host=socket.gethostname(), pid=os.getpid(), boot_id=boot_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run of the history."""

    id: int
    version: str
    """Empty for a run that failed before it knew."""
    started_at: datetime
    finished_at: datetime | None
    """None while it runs, and for a run that died."""
    outcome: Outcome
    exit_code: int | None
    origin: RunOrigin
    counters: RunCounters
    error: str
    """Message of the error that ended the run; empty for none."""

    @property
    def name(self) -> str:
        """A file name that sorts by time and stays unique after the ledger was lost."""
        return f"{self.started_at:%Y%m%dT%H%M%SZ}-{self.id}"


class RunHistory:
    """The runs of one collection alias; any thread may call."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file

    def start(self, version: str = "", *, origin: RunOrigin | None = None) -> RunRecord:
        """Record a new run; call it with the run lock held.

        Runs that are still marked as running died without a word: they become `interrupted`.

        Args:
            version: What it writes to; empty where that is not known yet.
            origin: The process that runs; None for this one.
        """
        origin = origin or RunOrigin.current()
        with self._file.transaction() as connection:
            connection.execute("UPDATE runs SET outcome = 'interrupted' WHERE outcome = 'running'")
            run_id = connection.execute(
                "INSERT INTO runs (version, started_at, outcome, host, pid, boot_id, counters)"
                " VALUES (?, ?, 'running', ?, ?, ?, '{}')",
                (version, _now(), origin.host, origin.pid, origin.boot_id),
            ).lastrowid
        return self.get(run_id or 0)

    def write_to(self, run_id: int, *, version: str) -> None:
        """Record which version a run has chosen."""
        with self._file.transaction() as connection:
            connection.execute("UPDATE runs SET version = ? WHERE id = ?", (version, run_id))

    def update(self, run_id: int, *, counters: RunCounters) -> None:
        """Record how far a run has come, for `status` and for the case that it dies."""
        with self._file.transaction() as connection:
            connection.execute(
                "UPDATE runs SET counters = ? WHERE id = ?",
                (json.dumps(asdict(counters)), run_id),
            )

    def finish(
        self,
        run_id: int,
        *,
        outcome: Outcome,
        exit_code: int,
        counters: RunCounters,
        error: str = "",
    ) -> None:
        """Record how a run ended.

        Args:
            run_id: From `start`.
            outcome: Any but `running`.
            exit_code: As the process will end with.
            counters: The final counts.
            error: A message without secrets and without a document's text.
        """
        with self._file.transaction() as connection:
            connection.execute(
                "UPDATE runs SET finished_at = ?, outcome = ?, exit_code = ?, counters = ?,"
                " error = ? WHERE id = ?",
                (
                    _now(),
                    outcome,
                    exit_code,
                    json.dumps(asdict(counters)),
                    printable(error),
                    run_id,
                ),
            )

    def get(self, run_id: int) -> RunRecord:
        """Return one run.

        Raises:
            ConfigurationError: There is no such run.
        """
        for record in self._select("WHERE id = ?", run_id):
            return record
        raise ConfigurationError(f"run {run_id}: not in the history.")

    def last(self) -> RunRecord | None:
        """Return the newest run, or None before the first."""
        return next(self.latest(max_runs=1), None)

    def last_success(self) -> RunRecord | None:
        """Return the newest run that ended well, dead letters within what is allowed."""
        return next(self._select("WHERE outcome = 'done' ORDER BY id DESC LIMIT ?", 1), None)

    def last_complete(self) -> RunRecord | None:
        """Return the newest run that read all of the corpus, with however many dead letters."""
        complete = "WHERE outcome IN ('done', 'dead_letters') ORDER BY id DESC LIMIT ?"
        return next(self._select(complete, 1), None)

    def last_num_files(self) -> int:
        """Return how many files the corpus had when a run last read all of it; 0 if unknown."""
        run = self.last_complete()
        return 0 if run is None else run.counters.num_files

    def latest(self, *, max_runs: int = -1) -> Iterator[RunRecord]:
        """Yield runs, newest first; all of them by default."""
        return self._select("ORDER BY id DESC LIMIT ?", max_runs)

    def _select(self, clause: str, value: int) -> Iterator[RunRecord]:
        rows = self._file.query(f"SELECT {_COLUMNS} FROM runs {clause}", (value,))  # noqa: S608
        for row in rows:
            run_id, version, started, finished, outcome, code, host, pid, boot_id, *rest = row
            yield RunRecord(
                id=run_id,
                version=version,
                started_at=datetime.fromisoformat(started),
                finished_at=datetime.fromisoformat(finished) if finished else None,
                outcome=outcome,
                exit_code=code,
                origin=RunOrigin(host=host, pid=pid, boot_id=boot_id),
                counters=RunCounters.from_json(rest[0]),
                error=rest[1],
            )


def _now() -> str:
    return datetime.now(UTC).isoformat()
