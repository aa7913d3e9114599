"""Names that a collection may have, and the columns in it. A `ValueError` says what was wrong."""

import re
from collections.abc import Sequence

from embed_index.schemas.columns import RESERVED_COLUMNS

MAX_COLLECTION_NAME = 200
"""Characters; Milvus takes 255 bytes, of which `_v` and a version's number need some."""
_MAX_COLUMN_NAME = 255

_COLLECTION = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{MAX_COLLECTION_NAME - 1}}}")
_VERSION_SUFFIX = re.compile(r"_v[0-9]+$")


def check_collection_name(name: str) -> str:
    """Refuse what Milvus does not take as a name, and what looks like a version of another."""
    if not _COLLECTION.fullmatch(name):
        raise ValueError(
            f"must be letters, digits and underscores, at most {MAX_COLLECTION_NAME}, and not start"
            " with a digit"
        )
    if _VERSION_SUFFIX.search(name):
        raise ValueError("must not end like a version; _v1, _v2, … are put behind the name")
    return name


def check_carried_names(names: Sequence[str]) -> None:
    """Refuse columns that a collection cannot carry under their names."""
    for name in names:
        if name in RESERVED_COLUMNS:
            raise ValueError(f"must not name {name!r}, a field that every collection has")
        if not (name.isascii() and name.isidentifier() and len(name) <= _MAX_COLUMN_NAME):
            raise ValueError(f"must not name {name!r}; Milvus takes letters, digits, underscores")
