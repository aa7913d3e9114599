"""Searches by words: Milvus' own BM25 over `text`, on the targets that have it.

Milvus itself takes each text apart and keeps its words in a field of their own, which nobody writes
or reads. Milvus Lite knows two tokenizers, and passes over whatever else an analyzer asks of it.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from embed_index.pipeline.milvus.sdk import DataType, FieldSchema, Function, FunctionType
from embed_index.schemas.columns import TEXT_TERMS
from embed_index.schemas.errors import ConfigurationError

TERMS_INDEX = "SPARSE_INVERTED_INDEX"
"""Milvus Lite takes no other for words."""

_EMBEDDED_TOKENIZERS = ("standard", "jieba")
_ON_SERVERS = "Search by words on a Milvus server from 2.5, or set text_analyzer to"


def terms_field() -> FieldSchema:
    """Return the field of the words."""
    return FieldSchema(TEXT_TERMS, DataType.SPARSE_FLOAT_VECTOR)


def terms_function() -> Function:
    """Return the function with which Milvus fills that field."""
    return Function(
        name="text_bm25",
        function_type=FunctionType.BM25,
        input_field_names=["text"],
        output_field_names=[TEXT_TERMS],
    )


def has_terms(description: Mapping[str, Any]) -> bool:
    """Tell from Milvus' description of a collection whether it can be searched by words."""
    return any(
        field["name"] == TEXT_TERMS and field["type"] == DataType.SPARSE_FLOAT_VECTOR
        for field in description["fields"]
    )


def analyzer_params(analyzer: str, *, embedded: bool) -> dict[str, Any]:
    """Return an analyzer as Milvus takes it.

    Args:
        analyzer: A name, or a JSON object, as the contract holds it.
        embedded: Whether it is for Milvus Lite.
    """
    if analyzer.startswith("{"):
        return dict(json.loads(analyzer))
    if embedded and analyzer == "chinese":
        return {"tokenizer": "jieba"}
    return {"type": analyzer}


def check_embedded_analyzer(analyzer: str) -> None:
    """Refuse an analyzer that Milvus Lite does not have, or of which it would leave a part out.

    Raises:
        ConfigurationError: It cannot be had.
    """
    params = analyzer_params(analyzer, embedded=True)
    tokenizer = params.get("tokenizer") or params.get("type")
    named = tokenizer.get("type") if isinstance(tokenizer, Mapping) else tokenizer
    if named not in _EMBEDDED_TOKENIZERS:
        raise ConfigurationError(
            f"text_analyzer: Milvus Lite has no {analyzer}; it has standard and chinese",
            remedy=f"{_ON_SERVERS} one of these.",
        )
    if named == "jieba" and find_spec("jieba") is None:
        raise ConfigurationError(
            f"text_analyzer: for {analyzer}, Milvus Lite needs the package jieba",
            remedy="Install it: pip install jieba.",
        )
    left_out = _left_out(params)
    if left_out:
        raise ConfigurationError(
            f"text_analyzer: Milvus Lite would pass over {left_out} without a word",
            remedy=f"{_ON_SERVERS} one without it.",
        )


def _left_out(params: Mapping[str, Any]) -> str:
    """Name the first part of an analyzer that Milvus Lite does not heed; empty for none."""
    others = params.keys() - {"tokenizer", "type", "filter"}
    if isinstance(params.get("tokenizer"), Mapping):
        others |= params["tokenizer"].keys() - {"type", "mode", "dict"}
    if others:
        return repr(min(others))
    filters = params.get("filter", [])
    if not isinstance(filters, list):
        return "the filter"
    for entry in filters:
        kind = entry.get("type") if isinstance(entry, Mapping) else entry
        # Everything is in lower case there. A word in underscores stands for a list of words.
        words = entry.get("stop_words") if isinstance(entry, Mapping) else None
        is_list = isinstance(words, list) and not any(str(word).startswith("_") for word in words)
        if kind != "lowercase" and not (kind == "stop" and is_list):
            return f"the filter {json.dumps(entry, ensure_ascii=False)}"
    return ""
