"""What is known of a file without opening it: its footer as it was, and how it would be read."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

import orjson
import pyarrow as pa

from embed_index.pipeline.corpus.files import CorpusFile, folders_of
from embed_index.pipeline.corpus.layout import Columns
from embed_index.schemas.columns import CarriedColumn


class Schemas:
    """Schemas as bytes and back; most files of a corpus have the same one."""

    def __init__(self) -> None:
        self._last: tuple[bytes, pa.Schema] = (b"", None)

    def read(self, content: bytes) -> pa.Schema:
        """Return a schema that `write` made bytes of."""
        if content is not self._last[0]:
            self._last = content, pa.ipc.read_schema(pa.py_buffer(content))
        return self._last[1]

    def write(self, schema: pa.Schema) -> bytes:
        """Return a schema as bytes."""
        last = self._last[1]
        if not (last and schema.equals(last, check_metadata=True)):
            self._last = schema.serialize().to_pybytes(), schema
        return self._last[0]


class Reading:
    """What, apart from a file's bytes, decides which documents are read of it."""

    def __init__(self, columns: Columns, carried: Sequence[CarriedColumn]) -> None:
        condition = columns.condition.text if columns.condition else None
        plain = repr(replace(columns, condition=None))
        self._id_from = columns.id_from
        self._of_all = orjson.dumps(
            # Another version may read the same bytes otherwise.
            (version("embed-index"), pa.__version__, plain, condition, repr(carried))
        )

    def of_file(self, file: CorpusFile, name: str) -> bytes:
        """Return what decides it for a file in its place, of which folders say something, too."""
        folders = [part for part in folders_of(file) if "=" in part]
        named = name if self._id_from == "place" else ""
        return self._of_all + orjson.dumps((folders, named)) if folders or named else self._of_all
