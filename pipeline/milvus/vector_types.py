"""How the numbers of vectors are coded in a collection; here they are float32 everywhere else.

Milvus takes a query in the type of the field alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embed_index.pipeline.milvus.sdk import DataType, schema_pb2
from embed_index.schemas.indexes import VectorType
from embed_index.schemas.records import Vectors

VECTOR_TYPES: Mapping[VectorType, DataType] = {
    "float32": DataType.FLOAT_VECTOR,
    "float16": DataType.FLOAT16_VECTOR,
    "bfloat16": DataType.BFLOAT16_VECTOR,
}
_NAMES: Mapping[DataType, VectorType] = {kind: name for name, kind in VECTOR_TYPES.items()}


def vector_type_of(data_type: int) -> VectorType | None:
    """Return the type of a field, None for a field that is none of ours."""
    return _NAMES.get(DataType(data_type))


def encoded(vectors: Vectors, kind: VectorType) -> NDArray[Any]:
    """Return the vectors as they go over the wire, rounded to the nearest."""
    if kind == "float32":
        return np.ascontiguousarray(vectors, dtype="<f4")
    if kind == "float16":
        return np.ascontiguousarray(vectors, dtype="<f2")
    # The upper half of a float32, rounded to even; unit vectors hold no infinity to run into.
    bits = np.ascontiguousarray(vectors, dtype="<f4").view("<u4")
    halves: NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return halves


def decoded(raw: bytes, kind: VectorType) -> Vectors:
    """Return what `encoded` gave, as one row of numbers."""
    if kind == "float16":
        return np.frombuffer(raw, "<f2").astype(np.float32)
    if kind == "bfloat16":
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").astype(np.float32)
    return np.frombuffer(raw, "<f4").astype(np.float32)


def as_queries(vectors: Vectors, kind: VectorType) -> Sequence[Any]:
    """Return vectors as pymilvus takes them for a search."""
    if kind == "float32":
        return list(vectors)
    return [row.tobytes() for row in encoded(vectors, kind)]


def read_vector(value: Any, kind: VectorType) -> Vectors:
    """Return a vector as pymilvus gives it: numbers, bytes, or a list of one bytes."""
    if kind == "float32":
        return np.asarray(value, dtype=np.float32)
    raw = value if isinstance(value, bytes) else b"".join(value)
    return decoded(raw, kind)


def read_field(field: schema_pb2.FieldData, kind: VectorType) -> Vectors:
    """Return the vectors of an answer, of shape (rows, dimension)."""
    vectors = field.vectors
    if kind == "float32":
        flat = np.array(vectors.float_vector.data, dtype=np.float32)
    else:
        halves = vectors.float16_vector if kind == "float16" else vectors.bfloat16_vector
        flat = decoded(halves, kind)
    return flat.reshape(-1, vectors.dim)


def write_field(vectors: Vectors, kind: VectorType) -> schema_pb2.FieldData:
    """Return the field of a request."""
    field = schema_pb2.FieldData(type=VECTOR_TYPES[kind], field_name="embedding")
    field.vectors.dim = vectors.shape[1]
    raw = encoded(vectors, kind).tobytes()
    if kind == "float32":
        # On the wire, an array of floats is one field of bytes.
        packed = schema_pb2.BytesArray(data=[raw]).SerializeToString()
        field.vectors.float_vector.MergeFromString(packed)
    elif kind == "float16":
        field.vectors.float16_vector = raw
    else:
        field.vectors.bfloat16_vector = raw
    return field
