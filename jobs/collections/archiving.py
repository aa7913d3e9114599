"""Collections out to Parquet and back: adapters built, the run lock taken."""

import importlib.metadata
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from embed_index.jobs.adapters.arrangement import arrangement_of
from embed_index.jobs.adapters.ledgers import claim_collection, locked_collection
from embed_index.jobs.adapters.live_version import live_version
from embed_index.jobs.adapters.places import ledger_path, open_existing_store, open_job_store
from embed_index.pipeline.archive.filling import fill_version
from embed_index.pipeline.archive.reading import Archive
from embed_index.pipeline.archive.writing import ArchiveWriter
from embed_index.pipeline.audit.ledger_rebuild import open_documents
from embed_index.pipeline.disk.heap import bound_heap
from embed_index.pipeline.embedding.cutting import cut_canary
from embed_index.pipeline.ledger.copying import dead_letters_of, whole_documents
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.blocks import RowBlock
from embed_index.pipeline.milvus.demands import check_rows, stored_columns
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.model.files import MIN_DIMENSION
from embed_index.pipeline.settling import go_live
from embed_index.pipeline.stages.deletion import DeletionLimits
from embed_index.pipeline.versions.check import find_fault
from embed_index.pipeline.versions.target import TargetVersion
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ConfigurationError, StoreError
from embed_index.schemas.settings import JobSettings

_TELL_SECONDS = 10.0
_UNDER_WAY = "importing "
"""Before the collection id, in the ledger, until an import is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written where."""

    folder: str
    version: str
    num_chunks: int
    num_documents: int
    num_files: int
    num_bytes: int
    dimension: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an archive became."""

    collection: str
    version: str
    """Live by now."""
    num_chunks: int
    num_documents: int
    dimension: int
    archived_dimension: int
    """Of the vectors in the archive, from which they were cut."""
    seconds: float


Tell: TypeAlias = Callable[[str], None]


def export_collection(
    settings: JobSettings, *, folder: Path, replace_older: bool, tell: Tell
) -> Exported:
    """Write the version that searches see as an archive.

    Args:
        settings: Name the collection.
        folder: Where to.
        replace_older: Whether an archive that is there gives way once the new one is whole.
        tell: Called with a sentence for people now and then.

    Raises:
        ConfigurationError: There is no such collection, or the folder is not free.
        LockHeldError: A run works on the collection, or another export on the folder.
        StoreError: Milvus cannot be used, or the version is not whole.
    """
    began = time.monotonic()
    bound_heap()
    alias = settings.collection
    with ExitStack() as stack:
        stack.enter_context(locked_collection(settings))
        store = stack.enter_context(open_existing_store(settings, alias))
        version = live_version(store, alias)
        store.versions.load(version)
        contract, carried = store.versions.contract(version), store.versions.carried(version)
        writer = stack.enter_context(
            ArchiveWriter(folder, contract=contract, carried=carried, replace=replace_older)
        )
        ledger = stack.enter_context(_ledger(settings))
        target = TargetVersion(
            name=version, contract=contract, carried=carried, exists=True, is_live=True
        )
        documents = open_documents(ledger, target, reader=store.reader, folder=settings.state_dir)
        if fault := find_fault(store.reader, documents):
            raise _not_whole(alias, version, fault)
        num_rows = store.reader.count(version)
        for block in _told(store.reader.iter_blocks(version), num_rows=num_rows, tell=tell):
            writer.write_chunks(block)
        writer.write_documents(whole_documents(documents))
        writer.write_letters(dead_letters_of(ledger, version))
        if writer.num_chunks != num_rows:
            raise _not_whole(alias, version, f"{num_rows:,} rows have {writer.num_chunks:,} keys")
        manifest = writer.finish(
            collection=alias,
            version=version,
            made_by=f"embed-index {importlib.metadata.version('embed-index')}",
        )
    return Exported(
        folder=str(folder),
        version=version,
        num_chunks=manifest.num_chunks,
        num_documents=manifest.num_documents,
        num_files=len(manifest.files),
        num_bytes=sum(file.num_bytes for file in manifest.files),
        dimension=manifest.dimension,
        seconds=round(time.monotonic() - began, 1),
    )


def import_collection(settings: JobSettings, *, folder: Path, tell: Tell) -> Imported:
    """Make a version of an archive, check it, and point the collection's name at it.

    No embedding server is asked. What an import that died left behind is dropped first.

    Args:
        settings: Name the collection, and what may differ from the archive.
        folder: The archive.
        tell: Called with a sentence for people now and then.

    Raises:
        ConfigurationError: The archive is damaged, foreign or newer; its vectors are narrower than
            is wanted; or much of the live version is not in it.
        LockHeldError: A run works on the collection.
        StoreError: Milvus cannot be used, or the new version is not whole.
    """
    began = time.monotonic()
    bound_heap()
    archive = Archive(folder)
    contract = _contract_for(settings, archive=archive)
    archive.check()
    alias = settings.collection
    with ExitStack() as stack:
        stack.enter_context(locked_collection(settings))
        ledger = stack.enter_context(Ledger(ledger_path(settings, alias)))
        store = stack.enter_context(open_job_store(settings))
        store.versions.check_alias(alias)
        store.versions.live_version(alias)
        arrangement = arrangement_of(settings)
        store.versions.indexes.check(arrangement, carried=archive.carried)
        target = store.versions.ask_target()
        check_rows(
            target,
            carried=archive.carried,
            text_analyzer=contract.text_analyzer,
            partition_key=contract.partition_key,
            shards=contract.shards,
            vector_type=contract.vector_type,
        )
        claim_collection(settings, store=store)
        _drop_unfinished(ledger, store=store, alias=alias)
        carried = stored_columns(
            archive.carried, target=target, partition_key=contract.partition_key
        )
        version = store.versions.next_name(alias)
        # Written down before there is anything to be settled by whoever comes next.
        under_way = f"{_UNDER_WAY}{contract.collection_id}"
        documents = ledger.documents(version, collection_id=under_way)
        store.versions.create(alias, contract=contract, carried=carried, arrangement=arrangement)
        blocks = archive.blocks(dimension=contract.dimension, carried=carried)
        fill_version(
            _told(blocks, num_rows=archive.manifest.num_chunks, tell=tell),
            version=version,
            store=store,
        )
        documents.replace_all(archive.documents())
        ledger.dead_letters.record(list(archive.letters()), version=version, run=0)
        store.flush(version)
        documents.mark_flushed()
        go_live(
            TargetVersion(
                name=version, contract=contract, carried=carried, exists=True, is_live=False
            ),
            ledger=ledger,
            documents=documents,
            store=store,
            alias=alias,
            deletion=DeletionLimits(
                allowed=True,
                max_share=settings.max_delete_share,
                force=settings.force,
                num_files=0,
                num_files_before=0,
            ),
        )
        ledger.rename_collection(version, collection_id=contract.collection_id)
    return Imported(
        collection=alias,
        version=version,
        num_chunks=archive.manifest.num_chunks,
        num_documents=archive.manifest.num_documents,
        dimension=contract.dimension,
        archived_dimension=archive.manifest.dimension,
        seconds=round(time.monotonic() - began, 1),
    )


@contextmanager
def _ledger(settings: JobSettings) -> Iterator[Ledger]:
    """Yield the collection's ledger, or a passing one where this host has none."""
    path = ledger_path(settings, settings.collection)
    if path.exists():
        with Ledger(path) as ledger:
            yield ledger
        return
    with (
        tempfile.TemporaryDirectory(dir=settings.state_dir, prefix="export-") as scratch,
        Ledger(Path(scratch) / "passing.ledger") as ledger,
    ):
        yield ledger


def _contract_for(settings: JobSettings, *, archive: Archive) -> CollectionContract:
    """Return the contract of the version that an archive becomes."""
    contract, width = archive.manifest.contract, archive.manifest.dimension
    dimension = settings.dimension or width
    if not MIN_DIMENSION <= dimension <= width:
        raise ConfigurationError(
            f"dimension: {dimension} is wanted, and the vectors of {archive.folder} have {width}",
            remedy=f"Choose one from {MIN_DIMENSION} to {width}, for vectors can only be cut; or"
            " embed the corpus anew with `embed-index run --rebuild`.",
        )
    analyzer = contract.text_analyzer
    if "text_search" in settings.model_fields_set:
        analyzer = settings.text_analyzer if settings.text_search else ""
    given = settings.model_fields_set & {"partition_key", "shards", "vector_type"}
    return contract.model_copy(
        update={
            **{name: getattr(settings, name) for name in given},
            "collection_id": secrets.token_hex(16),
            "dimension": dimension,
            "text_analyzer": analyzer,
            "canaries": tuple(cut_canary(canary, dimension) for canary in contract.canaries),
        }
    ).with_format()


def _drop_unfinished(ledger: Ledger, *, store: MilvusStore, alias: str) -> None:
    """Drop the versions of imports that died, and no others."""
    live = store.versions.live(alias)
    for version, known in ledger.versions().items():
        if not known.startswith(_UNDER_WAY):
            continue
        collection_id = known.removeprefix(_UNDER_WAY)
        if version == live or version in ledger.once_live():
            # It died after its last check: all of it is there.
            ledger.rename_collection(version, collection_id=collection_id)
            continue
        if (
            store.versions.exists(version)
            and store.versions.contract(version).collection_id == collection_id
        ):
            store.versions.drop(version)
        ledger.drop_version(version)


def _told(blocks: Iterable[RowBlock], *, num_rows: int, tell: Tell) -> Iterator[RowBlock]:
    """Say now and then how many of the rows have passed."""
    passed, told = 0, time.monotonic()
    for block in blocks:
        yield block
        passed += len(block)
        if time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            tell(f"{passed:,} of {num_rows:,} chunks")


def _not_whole(alias: str, version: str, fault: str) -> StoreError:
    return StoreError(
        f"{version} is not whole: {fault}; nothing was exported",
        remedy=f"Mend it with `embed-index verify {alias} --repair` and its job, then export"
        " again.",
    )
