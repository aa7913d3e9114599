"""What rows are to be like, asked of a Milvus before there are any."""

from collections.abc import Sequence
from dataclasses import replace

from embed_index.pipeline.milvus.capabilities import MilvusTarget
from embed_index.pipeline.milvus.terms import check_embedded_analyzer
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.indexes import VectorType


def check_rows(
    target: MilvusTarget,
    *,
    carried: Sequence[CarriedColumn],
    text_analyzer: str,
    partition_key: str,
    shards: int,
    vector_type: VectorType,
) -> None:
    """Refuse what a Milvus cannot do with rows.

    Args:
        target: The Milvus.
        carried: The carried columns.
        text_analyzer: Of the text search; empty for none.
        partition_key: The column by which rows are parted; empty for none.
        shards: By how many channels they are taken.
        vector_type: How their vectors are stored.

    Raises:
        ConfigurationError: It cannot.
    """
    if vector_type != "float32":
        target.require("half_vectors", setting=f"vector_type {vector_type}")
    for column in carried:
        if column.type == "json":
            target.require("json", setting=f"carry of {column.name!r}")
    if shards > 1:
        target.require("shards", setting="shards")
    if partition_key:
        target.require("partition_key", setting="partition_key")
        fit = [column.name for column in carried if column.type in ("text", "integer")]
        if partition_key not in fit:
            raise ConfigurationError(
                f"partition_key: {partition_key!r} is no carried column of text or integers"
                f"; they are {', '.join(fit) or 'none'}",
                remedy="Name one of these, or leave partition_key out.",
            )
    if text_analyzer:
        target.require("words", setting="text_search")
        if target.embedded:
            check_embedded_analyzer(text_analyzer)


def stored_columns(
    columns: Sequence[CarriedColumn], *, target: MilvusTarget, partition_key: str
) -> tuple[CarriedColumn, ...]:
    """Return the columns as a new version has them: nullable where the Milvus holds null.

    No Milvus lets a partition key be null.
    """
    null = target.can("null")
    return tuple(
        replace(column, nullable=null and column.name != partition_key) for column in columns
    )
