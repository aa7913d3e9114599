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


def carried_source(entry: str) -> tuple[str, str]:
    """Return the column of the corpus that `carry` names, and how the collection calls it.

    Another name follows ` as `: `created at as created_at`.
    """
    source, is_renamed, name = entry.rpartition(" as ")
    return (source.strip(), name.strip()) if is_renamed else (entry, entry)


def check_carried_names(entries: Sequence[str]) -> None:
    """Refuse columns that a collection cannot carry under their names."""
    names = [carried_source(entry)[1] for entry in entries]
    for name in names:
        if name in RESERVED_COLUMNS:
            raise ValueError(
                f"must not name {name!r}, a field that every collection has; carry it under another"
                f" name: {f'{name} as other_name'!r}"
            )
        if not (name.isascii() and name.isidentifier() and len(name) <= _MAX_COLUMN_NAME):
            plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "other_name"
            plain = f"_{plain}" if plain[0].isdigit() else plain
            raise ValueError(
                f"must not name {name!r}; Milvus takes letters, digits, underscores; carry it under"
                f" another name: {f'{name} as {plain}'!r}"
            )
        if names.count(name) > 1:
            raise ValueError(f"must not name {name} twice")
