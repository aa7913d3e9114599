"""An archive read back: checked to its last byte before anybody builds on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from embed_index.pipeline.archive.files import ParquetInput, digest_of
from embed_index.pipeline.archive.layout import (
    DOCUMENT_SCHEMA,
    LETTER_SCHEMA,
    block_from_arrow,
    chunk_schema,
    documents_from_arrow,
    letters_from_arrow,
)
from embed_index.pipeline.archive.manifest import ArchivedFile, Part, read_manifest
from embed_index.pipeline.embedding.cutting import cut_vectors
from embed_index.pipeline.ledger.entries import LedgerDocument
from embed_index.pipeline.milvus.blocks import RowBlock
from embed_index.schemas.columns import EMPTY_VALUES, CarriedColumn
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import DeadLetter


class Archive:
    """What `embed-index export` wrote; its files are read as they are asked for."""

    def __init__(self, folder: Path) -> None:
        """Read the manifest.

        Raises:
            ConfigurationError: It is no archive, one of a newer program, or damaged.
        """
        self.folder = folder
        self.manifest = read_manifest(folder)
        self.carried = tuple(column.column() for column in self.manifest.carried)
        self._schemas = {
            "chunks": chunk_schema(self.manifest.contract, carried=self.carried),
            "documents": DOCUMENT_SCHEMA,
            "letters": LETTER_SCHEMA,
        }

    def check(self) -> None:
        """Compare every file with the manifest, byte by byte and column by column.

        Raises:
            ConfigurationError: One is absent, damaged, or another than was written.
        """
        manifest = self.manifest
        if manifest.dimension != manifest.contract.dimension or manifest.num_chunks != sum(
            file.num_rows for file in manifest.of_part("chunks")
        ):
            raise self._damaged(f"{self.folder}: the manifest contradicts itself")
        for file in manifest.files:
            path = self.folder / file.name
            if not path.is_file():
                raise self._damaged(f"{path} is missing")
            size = path.stat().st_size
            if size != file.num_bytes:
                raise self._damaged(
                    f"{path} has {size:,} bytes, and {file.num_bytes:,} were written"
                )
            if digest_of(path) != file.sha256:
                raise self._damaged(f"{path} is not what was written: its SHA-256 differs")
            with ParquetInput(path) as opened:
                self._check_columns(file, opened)

    def blocks(self, *, dimension: int, carried: tuple[CarriedColumn, ...]) -> Iterator[RowBlock]:
        """Yield the rows as a collection of a smaller dimension has them.

        Args:
            dimension: At most the archive's; vectors are cut and brought to unit length.
            carried: The collection's columns; where one is not nullable, the type's empty value
                stands for null.

        Raises:
            ConfigurationError: A file is damaged.
        """
        kinds = {column.name: column.type for column in carried if not column.nullable}
        for path, table in self._tables("chunks"):
            with self._sound(path):
                block = block_from_arrow(table, dimension=self.manifest.dimension)
                fields = dict(block.fields)
                for name, kind in kinds.items():
                    fields[name] = [EMPTY_VALUES[kind] if x is None else x for x in fields[name]]
                cut = RowBlock(fields=fields, vectors=cut_vectors(block.vectors, dimension))
                cut.check(dimension=dimension, carried=carried)
            yield cut

    def documents(self) -> Iterator[LedgerDocument]:
        """Yield what the ledger said of the documents; raises as `blocks`."""
        for path, table in self._tables("documents"):
            with self._sound(path):
                documents = documents_from_arrow(table)
            yield from documents

    def letters(self) -> Iterator[DeadLetter]:
        """Yield the dead letters of dead chunks; raises as `blocks`."""
        for path, table in self._tables("letters"):
            with self._sound(path):
                letters = letters_from_arrow(table)
            yield from letters

    def _tables(self, part: Part) -> Iterator[tuple[Path, pa.Table]]:
        for file in self.manifest.of_part(part):
            path = self.folder / file.name
            with ParquetInput(path) as opened:
                self._check_columns(file, opened)
                for table in opened.tables():
                    yield path, table

    def _check_columns(self, file: ArchivedFile, opened: ParquetInput) -> None:
        if opened.num_rows != file.num_rows:
            raise self._damaged(
                f"{opened.path} has {opened.num_rows:,} rows, and {file.num_rows:,} were written"
            )
        if not opened.schema.equals(self._schemas[file.part]):
            raise self._damaged(f"{opened.path} has other columns than the manifest says")

    @contextmanager
    def _sound(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError) as error:
            raise self._damaged(f"{path} holds what no export writes ({error})") from error

    def _damaged(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            why, remedy="Copy the archive again from where it was whole, or export again."
        )
