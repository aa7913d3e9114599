"""Requests as they go over the wire, where pymilvus is slower than Milvus.

Those that write rows are built column by column. pymilvus builds them from a dictionary a row:
value by value, each text letter by letter, each component of a vector as a Python number. That took
more of the interpreter's time than all the rest of a run.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.milvus.blocks import BLOCK_FIELDS, RowBlock
from embed_index.pipeline.milvus.rows import MAX_SOURCE_BYTES, MAX_TEXT_BYTES, cut_head, cut_tail
from embed_index.pipeline.milvus.schema import CARRIED_TYPES
from embed_index.pipeline.milvus.sdk import (
    DataType,
    MilvusClient,
    check_status,
    milvus_pb2,
    schema_pb2,
)
from embed_index.pipeline.milvus.vector_types import write_field
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.indexes import VectorType
from embed_index.schemas.records import EmbeddedBatch, Vectors

_ROW_OVERHEAD_BYTES = 256
_ARRAYS = {
    DataType.VARCHAR: "string_data",
    DataType.INT64: "long_data",
    DataType.DOUBLE: "double_data",
    DataType.BOOL: "bool_data",
}


_OF_TEXT = (DataType.VARCHAR, DataType.ARRAY, DataType.JSON)


def _strings(text: str) -> schema_pb2.ScalarField:
    return schema_pb2.ScalarField(string_data=schema_pb2.StringArray(data=json.loads(text)))


@dataclass(frozen=True, slots=True)
class _Scalars:
    name: str
    type: DataType
    values: Sequence[Any]
    nullable: bool = False

    def field(self, rows: slice) -> schema_pb2.FieldData:
        field = schema_pb2.FieldData(type=self.type, field_name=self.name)
        values = self.values[rows]
        if self.type == DataType.JSON:
            # Where the column cannot be null, what it holds can.
            values = [None if x is None and self.nullable else x or "null" for x in values]
        if self.nullable:
            field.valid_data.extend(value is not None for value in values)
            values = [value for value in values if value is not None]
        if self.type == DataType.ARRAY:
            field.scalars.array_data.element_type = DataType.VARCHAR
            field.scalars.array_data.data.extend(map(_strings, values))
        elif self.type == DataType.JSON:
            field.scalars.json_data.data.extend(value.encode("utf-8") for value in values)
        else:
            getattr(field.scalars, _ARRAYS[self.type]).data.extend(values)
        return field


@dataclass(frozen=True, slots=True, kw_only=True)
class RowColumns:
    """The rows of a checked batch, texts and sources cut to what Milvus holds."""

    scalars: Sequence[_Scalars]
    vectors: Vectors
    num_bytes: NDArray[np.int64]
    """About how much each row takes in a request."""

    @classmethod
    def of(cls, batch: EmbeddedBatch, *, columns: Sequence[CarriedColumn]) -> "RowColumns":
        """Lay a batch out in columns.

        Args:
            batch: Checked.
            columns: The collection's carried columns.
        """
        chunks = batch.chunks
        documents = [chunk.document for chunk in chunks]
        texts = [cut_head(chunk.text, max_bytes=MAX_TEXT_BYTES) for chunk in chunks]
        whole = [
            len(text) == chunk.char_end - chunk.char_start
            for text, chunk in zip(texts, chunks, strict=True)
        ]
        sources = [cut_tail(str(x.source), max_bytes=MAX_SOURCE_BYTES) for x in documents]
        scalars = (
            _Scalars("chunk_id", DataType.VARCHAR, [x.chunk_id for x in chunks]),
            _Scalars("doc_id", DataType.VARCHAR, [x.doc_id for x in documents]),
            _Scalars("chunk_index", DataType.INT64, [x.chunk_index for x in chunks]),
            _Scalars("num_chunks", DataType.INT64, [x.num_chunks for x in chunks]),
            _Scalars("char_start", DataType.INT64, [x.char_start for x in chunks]),
            _Scalars("char_end", DataType.INT64, [x.char_end for x in chunks]),
            _Scalars("num_tokens", DataType.INT64, [x.num_tokens for x in chunks]),
            _Scalars("doc_hash", DataType.VARCHAR, [x.doc_hash for x in documents]),
            _Scalars("text", DataType.VARCHAR, texts),
            _Scalars("text_complete", DataType.BOOL, whole),
            _Scalars("source", DataType.VARCHAR, sources),
            *(
                _Scalars(
                    column.name,
                    CARRIED_TYPES[column.type],
                    [x.carried[place] for x in documents],
                    nullable=column.nullable,
                )
                for place, column in enumerate(columns)
            ),
        )
        return cls._measured(scalars, batch.vectors)

    @classmethod
    def of_block(cls, block: RowBlock, *, columns: Sequence[CarriedColumn]) -> "RowColumns":
        """Take rows that are columns already, and checked."""
        scalars = (
            *(
                _Scalars(name, CARRIED_TYPES[kind], block.fields[name])
                for name, kind in BLOCK_FIELDS.items()
            ),
            *(
                _Scalars(
                    column.name,
                    CARRIED_TYPES[column.type],
                    block.fields[column.name],
                    nullable=column.nullable,
                )
                for column in columns
            ),
        )
        return cls._measured(scalars, block.vectors)

    @classmethod
    def _measured(cls, scalars: Sequence[_Scalars], vectors: Vectors) -> "RowColumns":
        row_bytes = _ROW_OVERHEAD_BYTES + vectors.itemsize * vectors.shape[1]
        num_bytes = np.full(len(vectors), row_bytes, dtype=np.int64)
        for column in scalars:
            if column.type in _OF_TEXT:
                lengths = (len((value or "").encode("utf-8")) for value in column.values)
                num_bytes += np.fromiter(lengths, np.int64, len(vectors))
        return cls(scalars=scalars, vectors=vectors, num_bytes=num_bytes)

    def slices(self, *, max_bytes: int) -> Iterator[slice]:
        """Yield the rows of requests of about `max_bytes`, in order; a longer row goes alone."""
        ends = np.cumsum(self.num_bytes)
        start, done = 0, 0
        while start < len(ends):
            end = max(start + 1, int(np.searchsorted(ends, done + max_bytes, "right")))
            yield slice(start, end)
            start, done = end, int(ends[end - 1])

    def request(
        self, collection: str, rows: slice, *, vector_type: VectorType = "float32"
    ) -> milvus_pb2.UpsertRequest:
        """Return the request that writes some of the rows, to a collection of a vector type."""
        vectors = self.vectors[rows]
        return milvus_pb2.UpsertRequest(
            collection_name=collection,
            num_rows=len(vectors),
            fields_data=[
                *(column.field(rows) for column in self.scalars),
                write_field(vectors, vector_type),
            ],
        )


def send_upsert(client: MilvusClient, request: milvus_pb2.UpsertRequest, *, timeout: float) -> int:
    """Send a request by the way of pymilvus' older interface, which takes one that is built.

    Returns:
        Number of rows that Milvus acknowledged.
    """
    connection, context = _of(client)
    done = connection.upsert(
        request.collection_name,
        [],
        timeout=timeout,
        context=context,
        upsert_param=request,
        # Else the collection is described once a request.
        schema={"fields": []},
    )
    return int(done.upsert_count)


def send_describe(
    client: MilvusClient, collection: str, *, timeout: float
) -> milvus_pb2.DescribeCollectionResponse:
    """Ask what a name stands for, and return the reply as it came, with its status."""
    connection, context = _of(client)
    request = milvus_pb2.DescribeCollectionRequest(collection_name=collection)
    return connection._stub.DescribeCollection(  # noqa: SLF001
        request, timeout=timeout, metadata=context.to_grpc_metadata()
    )


def read_alias(client: MilvusClient, alias: str, *, timeout: float) -> str:
    """Return the collection that an alias stands for in the client's database.

    Milvus 2.3 answers from its default database unless the request itself names another, which
    pymilvus leaves to the call's metadata.

    Raises:
        MilvusException: There is no such alias, or Milvus refuses.
    """
    connection, context = _of(client)
    request = milvus_pb2.DescribeAliasRequest(alias=alias, db_name=context.get_db_name())
    reply = connection._stub.DescribeAlias(  # noqa: SLF001
        request, timeout=timeout, metadata=context.to_grpc_metadata()
    )
    check_status(reply.status)
    return str(reply.collection)


def list_aliases(client: MilvusClient, collection: str, *, timeout: float) -> list[str]:
    """Return the aliases of a collection in the client's database; see `read_alias`.

    Raises:
        MilvusException: There is no such collection, or Milvus refuses.
    """
    connection, context = _of(client)
    request = milvus_pb2.ListAliasesRequest(
        collection_name=collection, db_name=context.get_db_name()
    )
    reply = connection._stub.ListAliases(  # noqa: SLF001
        request, timeout=timeout, metadata=context.to_grpc_metadata()
    )
    check_status(reply.status)
    return list(reply.aliases)


def _of(client: MilvusClient) -> tuple[Any, Any]:
    """Return the connection of a client, and what names its database in a call."""
    return client._get_connection(), client._generate_call_context()  # noqa: SLF001
