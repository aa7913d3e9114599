"""A collection version written as an archive, whole or not at all."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pyarrow as pa

from embed_index.pipeline.archive.files import ParquetOutput, sync_folder
from embed_index.pipeline.archive.layout import (
    DOCUMENT_SCHEMA,
    LETTER_SCHEMA,
    VECTORS,
    block_to_arrow,
    chunk_schema,
    documents_to_arrow,
    letters_to_arrow,
)
from embed_index.pipeline.archive.manifest import (
    MANIFEST,
    PARTIAL,
    ArchivedColumn,
    ArchivedFile,
    Manifest,
    Part,
    file_name,
    is_left_over,
    is_ours,
    read_manifest,
)
from embed_index.pipeline.disk.errors import explain_disk
from embed_index.pipeline.disk.lock import RunLock
from embed_index.pipeline.ledger.entries import LedgerDocument
from embed_index.pipeline.milvus.blocks import RowBlock
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import DeadLetter

T = TypeVar("T")

FILE_BYTES = 512 << 20
"""Size at which chunks go into another file, so that several readers may share the work."""
_DOCUMENTS_PER_BATCH = 1024
_LOCK = ".export.lock"
_DRAFT = f"{MANIFEST}{PARTIAL}"
"""Stands there from the first file to the last name, so that it can be told whose a half is."""
_PLAIN = (VECTORS, "chunk_id", "text", "doc_hash")
"""Columns whose values hardly repeat, or that are long."""


class ArchiveWriter:
    """Writes into a folder under passing names; `finish` gives them their own, the manifest last.

    What a writer that died left behind is removed by the next one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        contract: CollectionContract,
        carried: Sequence[CarriedColumn],
        replace: bool = False,
        file_bytes: int = FILE_BYTES,
    ) -> None:
        """Name the folder, which is made if need be.

        Args:
            folder: Empty, not there yet, or an archive that may be replaced.
            contract: Of the version.
            carried: Its carried columns.
            replace: Whether an archive that is there gives way once the new one is whole.
            file_bytes: Size at which chunks go into another file.
        """
        self._folder = folder
        self._contract = contract
        self._carried = tuple(carried)
        self._replace = replace
        self._file_bytes = file_bytes
        self._schema = chunk_schema(contract, carried=carried)
        self._output: ParquetOutput | None = None
        self._files: list[ArchivedFile] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Take the folder.

        Raises:
            ConfigurationError: It holds something else, or an archive that may not be replaced.
            LockHeldError: Another export writes there.
            UnavailableError: The disk is full or fails.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_disk(
                error,
                subject=f"{self._folder}: cannot be made",
                remedy="Name another folder with --to.",
            ) from error
        with ExitStack() as stack:
            check_folder(self._folder, replace=self._replace)
            lock = self._folder / _LOCK
            stack.enter_context(RunLock(lock, held_means=f"Another export writes to {lock.parent}"))
            stack.callback(lock.unlink, missing_ok=True)
            self._sweep(also_named=not (self._folder / MANIFEST).exists())
            (self._folder / _DRAFT).touch()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._output is not None:
                self._output.abandon()
            self._sweep(also_named=False)
        finally:
            self._stack.close()

    @property
    def num_chunks(self) -> int:
        """Written so far; all of them once the documents are written."""
        return self._num_rows("chunks")

    def write_chunks(self, block: RowBlock) -> None:
        """Add rows of the version.

        Raises:
            UnavailableError: The disk is full or fails.
        """
        if self._output is None:
            self._output = self._open("chunks", self._schema, plain=_PLAIN)
        self._output.write(block_to_arrow(block, self._schema))
        if self._output.num_bytes >= self._file_bytes:
            self._close("chunks")

    def write_documents(self, documents: Iterable[LedgerDocument]) -> None:
        """Write what the ledger says of the documents; once. Raises as `write_chunks`."""
        self._close("chunks")
        self._output = self._open("documents", DOCUMENT_SCHEMA, plain=("doc_id", "chunk_hashes"))
        for step in _steps(documents, _DOCUMENTS_PER_BATCH):
            self._output.write(documents_to_arrow(step))
        self._close("documents")

    def write_letters(self, letters: Iterable[DeadLetter]) -> None:
        """Write the dead letters of dead chunks; once. Raises as `write_chunks`."""
        self._output = self._open("letters", LETTER_SCHEMA)
        for step in _steps(letters, _DOCUMENTS_PER_BATCH):
            self._output.write(letters_to_arrow(step))
        self._close("letters")

    def finish(self, *, collection: str, version: str, made_by: str) -> Manifest:
        """Make an archive of what was written, and let go of one that it replaces.

        Raises:
            ConfigurationError: Somebody else put files into the folder meanwhile.
            UnavailableError: The disk is full or fails.
        """
        self._close("chunks")
        manifest = Manifest(
            made_by=made_by,
            exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
            collection=collection,
            version=version,
            num_chunks=self._num_rows("chunks"),
            num_documents=self._num_rows("documents"),
            dimension=self._contract.dimension,
            carried=tuple(
                ArchivedColumn(name=x.name, type=x.type, nullable=x.nullable) for x in self._carried
            ),
            contract=self._contract,
            files=tuple(self._files),
        )
        check_folder(self._folder, replace=self._replace)
        draft = self._folder / _DRAFT
        try:
            draft.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            sync_folder(self._folder)
            # Without its manifest the older archive is none any more; then nothing is mixed.
            (self._folder / MANIFEST).unlink(missing_ok=True)
            self._sweep(also_named=True, passing=False)
            for written in self._files:
                (self._folder / f"{written.name}{PARTIAL}").rename(self._folder / written.name)
            draft.rename(self._folder / MANIFEST)
            sync_folder(self._folder)
        except OSError as error:
            raise explain_disk(
                error,
                subject=f"{self._folder}: the archive cannot be finished",
                remedy="Check owner and permissions of the folder, or name another one with --to.",
            ) from error
        return manifest

    def _sweep(self, *, also_named: bool, passing: bool = True) -> None:
        """Remove what an archive that is none leaves in the folder."""
        for file in self._folder.iterdir():
            if (passing and is_left_over(file.name)) or (also_named and is_ours(file.name)):
                file.unlink()

    def _open(self, part: Part, schema: pa.Schema, *, plain: tuple[str, ...] = ()) -> ParquetOutput:
        number = 1 + sum(file.part == part for file in self._files)
        path = self._folder / f"{file_name(part, number)}{PARTIAL}"
        return ParquetOutput(path, schema, plain=plain)

    def _close(self, part: Part) -> None:
        output, self._output = self._output, None
        if output is None:
            return
        sha256 = output.finish()
        self._files.append(
            ArchivedFile(
                name=output.path.name.removesuffix(PARTIAL),
                part=part,
                num_rows=output.num_rows,
                num_bytes=output.num_bytes,
                sha256=sha256,
            )
        )

    def _num_rows(self, part: Part) -> int:
        return sum(file.num_rows for file in self._files if file.part == part)


def check_folder(folder: Path, *, replace: bool) -> None:
    """Refuse a folder that holds what is not ours to replace.

    Raises:
        ConfigurationError: It does.
    """
    names = sorted(file.name for file in folder.iterdir())
    passing = [name for name in names if is_left_over(name) or name == _LOCK]
    others = [name for name in names if name not in passing]
    strange = [name for name in others if not is_ours(name)]
    if MANIFEST in others and not strange:
        if not replace:
            raise ConfigurationError(
                f"--to: {folder} holds an archive already",
                remedy="Name another folder, or replace it with --replace.",
            )
        read_manifest(folder)
    elif others and (strange or _DRAFT not in passing):
        raise ConfigurationError(
            f"--to: {folder} is not empty, and {(strange or others)[0]} is not of an archive of"
            " embed-index",
            remedy="Name an empty folder, or one that does not exist yet.",
        )


def _steps(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while step := list(islice(remaining, size)):
        yield step
