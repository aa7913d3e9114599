"""Archives made without a Milvus: rows, documents and dead letters of our own."""

from collections.abc import Sequence
from pathlib import Path

from milvus_fixtures import make_contract, unit_vectors

from embed_index.pipeline.archive.manifest import Manifest
from embed_index.pipeline.archive.writing import ArchiveWriter
from embed_index.pipeline.ledger.entries import LedgerDocument
from embed_index.pipeline.milvus.blocks import RowBlock
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.ids import chunk_id, text_hash
from embed_index.schemas.records import CarriedValue, DeadLetter, SourceRow

WIDTH = 96
CARRIED = (
    CarriedColumn(name="topic", type="text", nullable=True),
    CarriedColumn(name="year", type="integer", nullable=True),
    CarriedColumn(name="share", type="number", nullable=True),
    CarriedColumn(name="public", type="boolean", nullable=True),
)
CARRIED_VALUES: tuple[tuple[CarriedValue, ...], ...] = (
    ("Päpste \0 漢字", 2**62, 0.1, True),
    (None, None, None, None),
)
LETTER = DeadLetter(
    source=SourceRow(path="corpus/a.parquet", row_group=1, row=7),
    stage="embed",
    reason="refused",
    detail="The server refuses it.",
    doc_id="d1",
    chunk_index=1,
    attempts=3,
)


def contract() -> CollectionContract:
    return make_contract(dimension=WIDTH, carried=tuple(column.name for column in CARRIED))


def block(first: int = 0, num_rows: int = 4, *, dimension: int = WIDTH) -> RowBlock:
    """Return rows of one chunk a document, whose texts and metadata are none too tame."""
    numbers = range(first, first + num_rows)
    values = [CARRIED_VALUES[number % 2] for number in numbers]
    fields: dict[str, Sequence[CarriedValue]] = {
        "chunk_id": [chunk_id(f"d{number}", 0) for number in numbers],
        "doc_id": [f"d{number}" for number in numbers],
        "chunk_index": [0] * num_rows,
        "num_chunks": [1] * num_rows,
        "char_start": [0] * num_rows,
        "char_end": [9] * num_rows,
        "num_tokens": [3] * num_rows,
        "doc_hash": [text_hash(f"text {number}") for number in numbers],
        "text": [f"text\n {number} \x00 🙂" for number in numbers],
        "text_complete": [number % 3 != 0 for number in numbers],
        "source": [f"a.parquet#0:{number}" for number in numbers],
    }
    for place, column in enumerate(CARRIED):
        fields[column.name] = [row[place] for row in values]
    return RowBlock(fields=fields, vectors=unit_vectors(num_rows, dimension=dimension, seed=first))


def document(number: int) -> LedgerDocument:
    return LedgerDocument(
        doc_id=f"d{number}",
        doc_hash=text_hash(f"text {number}") if number else None,
        carried_hash="c" * 32 if number else None,
        num_chunks=2,
        chunk_hashes=bytes(range(32)),
        dead_chunks=(1,) if number == 1 else (),
        max_chunks=2,
    )


def write_archive(
    folder: Path, *blocks: RowBlock, replace: bool = False, file_bytes: int = 1 << 30
) -> Manifest:
    with ArchiveWriter(
        folder, contract=contract(), carried=CARRIED, replace=replace, file_bytes=file_bytes
    ) as writer:
        for rows in blocks or (block(),):
            writer.write_chunks(rows)
        writer.write_documents(map(document, range(3)))
        writer.write_letters([LETTER])
        return writer.finish(collection="articles", version="articles_v1", made_by="tests")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
