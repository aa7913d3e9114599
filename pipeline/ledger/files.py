"""The files that a version's documents were read from, as the last complete pass found them."""

from collections.abc import Iterable
from typing import NamedTuple

from embed_index.pipeline.ledger.file import LedgerFile
from embed_index.schemas.records import FileRecord

_STRETCH_DIGEST_BYTES = 16
_COLUMNS = "f.name, f.num_bytes, f.modified_ns, f.digest, f.num_rows, s.content, f.stretches"


class KnownFile(NamedTuple):
    """A file, and the digests of the stretches that its documents are in the ledger."""

    file: FileRecord
    stretches: tuple[bytes, ...]


class FileLedger:
    """The files of every version; each method is one transaction, from any thread."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file

    def by_name(self) -> dict[str, FileRecord]:
        """Return the files of all versions; of several with one name the newest version's."""
        return {known.file.name: known.file for known in self._select("1")}

    def of_version(self, version_id: int) -> dict[str, KnownFile]:
        """Return the files of a version by their names."""
        known = self._select("f.version_id = ?", version_id)
        return {each.file.name: each for each in known}

    def replace(
        self, version_id: int, *, written: Iterable[KnownFile], removed: Iterable[str]
    ) -> None:
        """Write some files of a version over what is known of them, and remove others by name."""
        with self._file.transaction() as connection:
            connection.executemany(
                "DELETE FROM files WHERE version_id = ? AND name = ?",
                ((version_id, name) for name in removed),
            )
            for file, stretches in written:
                connection.execute(
                    "INSERT INTO file_schemas (content) VALUES (?) ON CONFLICT DO NOTHING",
                    (file.schema,),
                )
                connection.execute(
                    "INSERT OR REPLACE INTO files (version_id, name, num_bytes, modified_ns,"
                    " digest, num_rows, schema_id, stretches) SELECT ?, ?, ?, ?, ?, ?, id, ?"
                    " FROM file_schemas WHERE content = ?",
                    (
                        version_id,
                        file.name,
                        file.num_bytes,
                        file.modified_ns,
                        file.digest,
                        file.num_rows,
                        b"".join(stretches),
                        file.schema,
                    ),
                )
            connection.execute(
                "DELETE FROM file_schemas WHERE id NOT IN (SELECT schema_id FROM files)"
            )

    def _select(self, condition: str, *parameters: int) -> Iterable[KnownFile]:
        rows = self._file.query(
            f"SELECT {_COLUMNS} FROM files f JOIN file_schemas s ON s.id = f.schema_id"  # noqa: S608
            f" WHERE {condition} ORDER BY f.version_id",
            parameters,
        )
        # Most files have one schema, which is kept once.
        schemas: dict[bytes, bytes] = {}
        for name, num_bytes, modified_ns, digest, num_rows, schema, stretches in rows:
            file = FileRecord(
                name=name,
                num_bytes=num_bytes,
                modified_ns=modified_ns,
                digest=digest,
                num_rows=num_rows,
                schema=schemas.setdefault(schema, schema),
            )
            yield KnownFile(file, _parted(stretches))


def _parted(joined: bytes) -> tuple[bytes, ...]:
    size = _STRETCH_DIGEST_BYTES
    return tuple(joined[start : start + size] for start in range(0, len(joined), size))
