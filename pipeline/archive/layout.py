"""Rows, documents and dead letters as Arrow has them, and back."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from embed_index.pipeline.ledger.entries import LedgerDocument
from embed_index.pipeline.milvus.blocks import BLOCK_FIELDS, RowBlock
from embed_index.schemas.columns import CarriedColumn, CarriedType
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.records import DeadLetter, SourceRow, Vectors

VECTORS = "embedding"
"""The column of the vectors; names are those of the collection's own fields."""
CONTRACT_KEY = b"embed_index.contract"

_TYPES: Mapping[CarriedType, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "list": pa.string(),
    "json": pa.string(),
}
"""Lists and structs are JSON text in an archive."""

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("doc_hash", pa.string()),
        pa.field("carried_hash", pa.string()),
        pa.field("num_chunks", pa.int64(), nullable=False),
        pa.field("max_chunks", pa.int64(), nullable=False),
        pa.field("chunk_hashes", pa.binary(), nullable=False),
        pa.field("dead_chunks", pa.list_(pa.int64()), nullable=False),
    ]
)
"""What the ledger says of documents, without which the next run could not tell what changed."""

LETTER_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string()),
        pa.field("path", pa.string(), nullable=False),
        pa.field("row_group", pa.int64(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("chunk_index", pa.int64()),
        pa.field("attempts", pa.int64(), nullable=False),
    ]
)
"""The dead letters of documents some of whose chunks are dead."""


def chunk_schema(contract: CollectionContract, *, carried: Sequence[CarriedColumn]) -> pa.Schema:
    """Return the columns of the chunks, with the contract in the schema's metadata."""
    vector = pa.list_(pa.field("element", pa.float32(), nullable=False), contract.dimension)
    return pa.schema(
        [
            *(pa.field(name, _TYPES[kind], nullable=False) for name, kind in BLOCK_FIELDS.items()),
            *(
                pa.field(column.name, _TYPES[column.type], nullable=column.nullable)
                for column in carried
            ),
            pa.field(VECTORS, vector, nullable=False),
        ],
        metadata={CONTRACT_KEY: contract.model_dump_json()},
    )


def block_to_arrow(block: RowBlock, schema: pa.Schema) -> pa.RecordBatch:
    """Return rows in the columns of `chunk_schema`."""
    flat = pa.array(np.ascontiguousarray(block.vectors, dtype="<f4").reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, type=schema.field(VECTORS).type)
    scalars = [
        pa.array(block.fields[field.name], field.type) for field in schema if field.name != VECTORS
    ]
    return pa.RecordBatch.from_arrays([*scalars, vectors], schema=schema)


def block_from_arrow(table: pa.Table, *, dimension: int) -> RowBlock:
    """Return rows whose vectors have `dimension` in the archive."""
    column = table.column(VECTORS).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    # Neither `values` nor `flatten` may be given: the first knows no offset, the second copies.
    flat: Vectors = column.flatten().to_numpy(zero_copy_only=False)
    return RowBlock(
        fields={
            name: table.column(name).to_pylist() for name in table.column_names if name != VECTORS
        },
        vectors=flat.reshape(-1, dimension),
    )


def documents_to_arrow(documents: Sequence[LedgerDocument]) -> pa.RecordBatch:
    """Return documents in the columns of `DOCUMENT_SCHEMA`."""
    rows = [(x.doc_id, *x.columns(), list(x.dead_chunks)) for x in documents]
    columns = list(zip(*rows, strict=True)) or [()] * len(DOCUMENT_SCHEMA)
    arrays = [
        pa.array(values, field.type) for values, field in zip(columns, DOCUMENT_SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENT_SCHEMA)


def documents_from_arrow(table: pa.Table) -> list[LedgerDocument]:
    """Return the documents of a table.

    Raises:
        ValueError: A document's hashes do not match its chunks.
    """
    return [
        LedgerDocument(**(row | {"dead_chunks": tuple(row["dead_chunks"])}))
        for row in table.to_pylist()
    ]


def letters_to_arrow(letters: Sequence[DeadLetter]) -> pa.RecordBatch:
    """Return dead letters in the columns of `LETTER_SCHEMA`."""
    rows = [
        {
            "doc_id": x.doc_id,
            "path": x.source.path,
            "row_group": x.source.row_group,
            "row": x.source.row,
            "stage": x.stage,
            "reason": x.reason,
            "detail": x.detail,
            "chunk_index": x.chunk_index,
            "attempts": x.attempts,
        }
        for x in letters
    ]
    return pa.RecordBatch.from_pylist(rows, schema=LETTER_SCHEMA)


def letters_from_arrow(table: pa.Table) -> list[DeadLetter]:
    """Return the dead letters of a table."""
    return [
        DeadLetter(
            source=SourceRow(**{name: row.pop(name) for name in ("path", "row_group", "row")}),
            **row,
        )
        for row in table.to_pylist()
    ]
