"""Where a column stands: in a file's schema, perhaps inside of others, or in its folders' names."""

from urllib.parse import unquote_to_bytes

import pyarrow as pa

from embed_index.pipeline.corpus.files import CorpusFile, folders_of

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

ColumnPath = tuple[str, ...]
"""Names of fields, from a file's column to the one that is meant within it."""


class AmbiguousColumnError(Exception):
    """Several columns bear the name."""


def find_path(schema: pa.Schema, name: str) -> ColumnPath | None:
    """Return where a column stands, None where the file has none of that name.

    A column of exactly that name comes first, then a field within others (`doc.body.text`), then
    the only column whose name differs in upper and lower case alone.

    Raises:
        AmbiguousColumnError: The name does not say which.
    """
    num_columns = schema.names.count(name)
    if num_columns > 1:
        raise AmbiguousColumnError
    if num_columns:
        return (name,)
    paths = _within(list(schema), name.split("."))
    if not paths:
        paths = [(other,) for other in schema.names if other.casefold() == name.casefold()]
    if len(paths) > 1:
        raise AmbiguousColumnError
    return paths[0] if paths else None


def field_at(schema: pa.Schema, path: ColumnPath) -> pa.Field:
    """Return the field at a path of `find_path`."""
    field = schema.field(path[0])
    for name in path[1:]:
        field = field.type.field(name)
    return field


def partition_value(file: CorpusFile, name: str) -> tuple[str | None] | None:
    """Return what the file's folders say of a column (`lang=de/`), None where they do not.

    The value stands in a tuple, because it may be null; the nearest folder counts.
    """
    for part in reversed(folders_of(file)):
        key, is_equal, value = part.partition("=")
        if is_equal and _unquoted(key) == name:
            return (None if value == _HIVE_NULL else _unquoted(value),)
    return None


def _within(fields: list[pa.Field], names: list[str]) -> list[ColumnPath]:
    """Return the paths that dotted names may mean; a field's own name may have dots in it."""
    paths: list[ColumnPath] = []
    for length in range(1, len(names) + 1):
        head = ".".join(names[:length])
        for field in fields:
            if field.name != head:
                continue
            if length == len(names):
                paths.append((head,))
            elif pa.types.is_struct(field.type):
                inside = [field.type.field(place) for place in range(field.type.num_fields)]
                paths += [(head, *rest) for rest in _within(inside, names[length:])]
    return paths


def _unquoted(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        return text
