"""The fields and indexes of a collection version, and the contract that it carries.

A server keeps the contract as JSON in the collection's description. Milvus Lite accepts a
description and forgets it, so a property holds the contract there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from embed_index.pipeline.milvus.rows import (
    MAX_CHUNK_ID_BYTES,
    MAX_DOC_ID_BYTES,
    MAX_SOURCE_BYTES,
    MAX_TEXT_BYTES,
)
from embed_index.pipeline.milvus.sdk import CollectionSchema, DataType, FieldSchema
from embed_index.pipeline.milvus.terms import (
    analyzer_params,
    has_terms,
    terms_field,
    terms_function,
)
from embed_index.pipeline.milvus.vector_types import VECTOR_TYPES, vector_type_of
from embed_index.schemas.columns import (
    MAX_LIST_LENGTH,
    RESERVED_COLUMNS,
    TEXT_TERMS,
    CarriedColumn,
    CarriedType,
)
from embed_index.schemas.contract import FORMAT_VERSION, CollectionContract
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.indexes import VectorType

CONTRACT_PROPERTY = "embed_index.contract"

CARRIED_TYPES: Mapping[CarriedType, DataType] = {
    "text": DataType.VARCHAR,
    "integer": DataType.INT64,
    "number": DataType.DOUBLE,
    "boolean": DataType.BOOL,
    "list": DataType.ARRAY,
    "json": DataType.JSON,
}
_CARRIED_NAMES: Mapping[DataType, CarriedType] = {
    data_type: name for name, data_type in CARRIED_TYPES.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionLayout:
    """What a row of one collection version looks like."""

    dimension: int
    carried: tuple[CarriedColumn, ...]
    text_search: bool = False
    """Whether Milvus keeps the words of each text."""
    vector_type: VectorType = "float32"


def build_schema(
    contract: CollectionContract, *, carried: Sequence[CarriedColumn], embedded: bool = False
) -> CollectionSchema:
    """Return the schema of a new version, the contract in its description.

    Args:
        contract: Of the version.
        carried: Its metadata columns.
        embedded: Whether it is one of Milvus Lite, which spells analyzers another way.
    """
    analyzed: dict[str, Any] = {}
    if contract.text_analyzer:
        params = analyzer_params(contract.text_analyzer, embedded=embedded)
        analyzed = {"enable_analyzer": True, "analyzer_params": params}
    return CollectionSchema(
        [
            FieldSchema(
                "chunk_id", DataType.VARCHAR, max_length=MAX_CHUNK_ID_BYTES, is_primary=True
            ),
            FieldSchema("doc_id", DataType.VARCHAR, max_length=MAX_DOC_ID_BYTES),
            FieldSchema("chunk_index", DataType.INT64),
            FieldSchema("num_chunks", DataType.INT64),
            FieldSchema("char_start", DataType.INT64),
            FieldSchema("char_end", DataType.INT64),
            FieldSchema("num_tokens", DataType.INT64),
            FieldSchema("doc_hash", DataType.VARCHAR, max_length=32),
            FieldSchema("text", DataType.VARCHAR, max_length=MAX_TEXT_BYTES, **analyzed),
            FieldSchema("text_complete", DataType.BOOL),
            FieldSchema("source", DataType.VARCHAR, max_length=MAX_SOURCE_BYTES),
            *(_carried_field(column, key=contract.partition_key) for column in carried),
            FieldSchema("embedding", VECTOR_TYPES[contract.vector_type], dim=contract.dimension),
            *((terms_field(),) if contract.text_analyzer else ()),
        ],
        functions=[terms_function()] if contract.text_analyzer else [],
        description=contract.model_dump_json(),
        auto_id=False,
        enable_dynamic_field=False,
    )


def _carried_field(column: CarriedColumn, *, key: str) -> FieldSchema:
    size: dict[str, Any] = {}
    if column.type in ("text", "list"):
        size["max_length"] = column.max_bytes
    if column.type == "list":
        size |= {"element_type": DataType.VARCHAR, "max_capacity": MAX_LIST_LENGTH}
    return FieldSchema(
        column.name,
        CARRIED_TYPES[column.type],
        nullable=column.nullable,
        is_partition_key=column.name == key,
        **size,
    )


def read_layout(description: Mapping[str, Any], *, collection: str) -> CollectionLayout:
    """Read the layout of a collection that we made from Milvus' description of it.

    Raises:
        ConfigurationError: The collection was made by something else.
    """
    fields = {field["name"]: field for field in description["fields"]}
    if not fields.keys() >= RESERVED_COLUMNS:
        raise _not_ours(collection)
    carried = []
    text_search = has_terms(description)
    for name, field in fields.items():
        if name in RESERVED_COLUMNS or (text_search and name == TEXT_TERMS):
            continue
        if field["type"] not in _CARRIED_NAMES:
            raise _not_ours(collection)
        carried.append(
            CarriedColumn(
                name=name,
                type=_CARRIED_NAMES[field["type"]],
                nullable=bool(field.get("nullable")),
            )
        )
    vector_type = vector_type_of(fields["embedding"]["type"])
    if vector_type is None:
        raise _not_ours(collection)
    return CollectionLayout(
        dimension=int(fields["embedding"]["params"]["dim"]),
        carried=tuple(carried),
        text_search=text_search,
        vector_type=vector_type,
    )


def read_contract(description: Mapping[str, Any], *, collection: str) -> CollectionContract:
    """Read the contract from Milvus' description of a collection.

    Raises:
        ConfigurationError: The collection was made by something else, or by a newer version of
            this program.
    """
    try:
        contract = CollectionContract.model_validate_json(contract_text(description))
    except ValidationError as error:
        raise _not_ours(collection) from error
    if contract.format_version > FORMAT_VERSION:
        raise ConfigurationError(
            f"collection {collection!r} has format {contract.format_version}; this program knows "
            f"formats up to {FORMAT_VERSION}",
            remedy="Upgrade embed-index.",
        )
    return contract


def contract_text(description: Mapping[str, Any]) -> str:
    """Return the contract as it stands in Milvus' description of a collection; may be anything."""
    return str(
        description["description"] or description["properties"].get(CONTRACT_PROPERTY, "") or ""
    )


def _not_ours(collection: str) -> ConfigurationError:
    return ConfigurationError(
        f"collection {collection!r} was not made by embed-index: it holds no contract",
        remedy="Choose another collection name.",
    )
