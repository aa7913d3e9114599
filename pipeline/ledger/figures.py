"""Figures about a collection over time: what was predicted, how good it is, how fast it went."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from embed_index.pipeline.ledger.file import LedgerFile

FigureKind: TypeAlias = Literal["prediction", "quality", "pace", "contract", "precision"]
"""What a run was expected to cost; what an evaluation found; tokens over time within a run; how a
version was made; in what precision a run embedded."""

_COLUMNS = "id, kind, version, run_id, recorded_at, content"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One set of figures, as the room that made it wrote it."""

    id: int
    kind: FigureKind
    version: str
    """Such as `articles_v1`; kept when the version is dropped."""
    run_id: int | None
    """None for what no run made."""
    recorded_at: datetime
    content: str
    """JSON; its maker reads it, and must read what older releases wrote."""


class FigureHistory:
    """The figures of one collection alias; any thread may call."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file

    def record(
        self, kind: FigureKind, *, version: str, content: str, run_id: int | None = None
    ) -> None:
        """Add a set of figures; earlier ones stay.

        Args:
            kind: What they say.
            version: What they are about; empty where that is not known yet.
            content: JSON.
            run_id: The run that they belong to.
        """
        with self._file.transaction() as connection:
            connection.execute(
                "INSERT INTO figures (kind, version, run_id, recorded_at, content)"
                " VALUES (?, ?, ?, ?, ?)",
                (kind, version, run_id, datetime.now(UTC).isoformat(), content),
            )

    def of_run(self, run_id: int, *, kind: FigureKind) -> Figures | None:
        """Return the newest figures of a kind that belong to a run; None where there are none."""
        return next(self._select("kind = ? AND run_id = ?", kind, run_id), None)

    def of_version(self, version: str, *, kind: FigureKind) -> Figures | None:
        """Return the newest figures of a kind about a version; None where there are none."""
        return next(self._select("kind = ? AND version = ?", kind, version), None)

    def latest(self, *, kind: FigureKind, max_sets: int = -1) -> Iterator[Figures]:
        """Yield the figures of a kind, newest first; all of them by default."""
        return self._select("kind = ?", kind, max_sets=max_sets)

    def _select(self, clause: str, *values: str | int, max_sets: int = -1) -> Iterator[Figures]:
        rows = self._file.query(
            f"SELECT {_COLUMNS} FROM figures WHERE {clause} ORDER BY id DESC LIMIT ?",  # noqa: S608
            (*values, max_sets),
        )
        for figures_id, kind, version, run_id, recorded_at, content in rows:
            yield Figures(
                id=figures_id,
                kind=kind,
                version=version,
                run_id=run_id,
                recorded_at=datetime.fromisoformat(recorded_at),
                content=content,
            )
