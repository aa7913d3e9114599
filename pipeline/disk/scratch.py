"""A temporary SQLite database, for sorting and joining what does not fit into memory."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embed_index.schemas.errors import UnavailableError


@contextmanager
def open_scratch(folder: Path, *layout: str) -> Iterator[sqlite3.Connection]:
    """Yield a database that any thread may use, one at a time.

    Its file has no name any more when this yields, so that nothing is left behind, whatever dies.

    Args:
        folder: Where the room for it is; created if need be.
        layout: Statements that create the tables.

    Raises:
        UnavailableError: The disk is full or fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="scratch-", suffix=".sqlite") as file:
            scratch = sqlite3.connect(file.name, isolation_level=None, check_same_thread=False)
            scratch.execute("PRAGMA journal_mode = OFF")
            scratch.execute("PRAGMA synchronous = OFF")
            for statement in layout:
                scratch.execute(statement)
            # Never committed: nobody else will read it, and nothing is written before it must be.
            scratch.execute("BEGIN")
        try:
            yield scratch
        finally:
            scratch.close()
    except (sqlite3.OperationalError, OSError) as error:
        raise UnavailableError(
            f"{folder}: a temporary file cannot be written there ({error})",
            remedy="Make room on the disk, or name another folder with --state-dir.",
        ) from error
