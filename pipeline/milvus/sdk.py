"""pymilvus, imported so that it reads no settings of its own.

On import pymilvus loads the nearest `.env` into the environment, which is no library's to change,
and parses MILVUS_URI; it fails where that is the path of an embedded Milvus. All modules import its
names from here, before they import Milvus Lite, which imports it.

It also imports pandas and requests, for data frames and Zilliz Cloud's global clusters. They cost
as much time and memory as all the rest of it, and a job uses neither.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from embed_index.pipeline.milvus.deferral import deferring

_READ_ON_IMPORT = ("MILVUS_URI", "MILVUS_DEFAULT_CONNECTION")
_NO_DOTENV = "PYTHON_DOTENV_DISABLED"


@contextmanager
def _without_settings() -> Iterator[None]:
    hidden = {name: os.environ.pop(name) for name in _READ_ON_IMPORT if name in os.environ}
    before = os.environ.get(_NO_DOTENV)
    os.environ[_NO_DOTENV] = "1"
    try:
        yield
    finally:
        del os.environ[_NO_DOTENV]
        if before is not None:
            os.environ[_NO_DOTENV] = before
        os.environ.update(hidden)


with _without_settings(), deferring("pandas", "pandas.api.types", "requests"):
    from pymilvus import (
        CollectionSchema,
        DataType,
        FieldSchema,
        Function,
        FunctionType,
        MilvusClient,
    )
    from pymilvus.client.utils import check_status
    from pymilvus.exceptions import MilvusException
    from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2

__all__ = [
    "CollectionSchema",
    "DataType",
    "FieldSchema",
    "Function",
    "FunctionType",
    "MilvusClient",
    "MilvusException",
    "check_status",
    "common_pb2",
    "milvus_pb2",
    "milvus_pb2_grpc",
    "schema_pb2",
]
