"""Kept vectors found again by what the model saw, cut to the dimension that is wanted now."""

import sqlite3
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from embed_index.pipeline.archive.files import ParquetInput
from embed_index.pipeline.archive.kept_files import (
    KeptMaking,
    key_of,
    list_files,
    read_keys,
    read_making,
    read_rows,
)
from embed_index.pipeline.embedding.canaries import min_cosine
from embed_index.pipeline.embedding.cutting import UncuttableVectorError, cut_canary, cut_vectors
from embed_index.pipeline.stages.reuse import is_unit
from embed_index.schemas.contract import Canary, CollectionContract
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.precision import are_mixed
from embed_index.schemas.records import Chunk, Vectors

INDEX_LAYOUT = (
    "CREATE TABLE kept (key BLOB PRIMARY KEY, file INTEGER, row_group INTEGER, row INTEGER)"
    " WITHOUT ROWID"
)
_ROW_GROUPS_IN_MEMORY = 8
_KEYS_PER_QUERY = 500


class KeptReader:
    """Finds kept vectors; one thread at a time.

    A file that is damaged, or whose vectors were made another way, is passed over: what it held is
    embedded again. Memory holds a few row groups; where each key is found stands in a scratch
    database, which is filled when the first vector is looked for.
    """

    def __init__(
        self,
        folder: Path,
        *,
        contract: CollectionContract,
        canaries: Sequence[Canary],
        width: int,
        scratch: sqlite3.Connection,
        tell: Callable[[str], None],
    ) -> None:
        """Look which files are of use.

        Args:
            folder: Where vectors are kept.
            contract: Of the version that is filled.
            canaries: That the vectors must agree with; empty where none are known.
            width: The model's own.
            scratch: An empty database with `INDEX_LAYOUT`.
            tell: Called with a sentence for people.
        """
        self._dimension = contract.dimension
        self._scratch = scratch
        self._tell = tell
        self._files: list[Path] = []
        self._damaged: set[tuple[int, int]] = set()
        self._rows: OrderedDict[tuple[int, int], Vectors] = OrderedDict()
        self._is_indexed = False
        self.making: KeptMaking | None = None
        """How they were made; None where none are of use."""
        # The newest say what is made now; older ones must agree with them.
        for path in reversed(list_files(folder)):
            making = read_making(path)
            if making is None:
                self._pass_over(path, "cannot be read")
                continue
            known = canaries or (() if self.making is None else self.making.canaries)
            if is_made_so(making, contract=contract, width=width, canaries=known):
                self.making = self.making or making
                self._files.append(path)

    def contract_for(self, contract: CollectionContract) -> CollectionContract:
        """Return the contract of a version that is not there yet, as these vectors were made."""
        if self.making is None or contract.canaries:
            return contract
        made = self.making
        canaries = tuple(cut_canary(canary, contract.dimension) for canary in made.canaries)
        return contract.model_copy(
            update={"engine": made.engine, "dtype": made.dtype, "canaries": canaries}
        )

    def find(self, chunks: Iterable[Chunk]) -> dict[str, Vectors]:
        """Return by chunk id the vectors, cut and of unit length, that are kept."""
        wanted: dict[bytes, list[str]] = defaultdict(list)
        for chunk in chunks:
            wanted[key_of(chunk.token_ids)].append(chunk.chunk_id)
        if not wanted or not self._files:
            return {}
        self._index()
        found: dict[str, Vectors] = {}
        for (file, row_group), places in self._places(list(wanted)).items():
            rows = self._read(file, row_group)
            if rows is None:
                continue
            for key, row in places:
                vector = self._cut(rows[row])
                if vector is not None:
                    found.update(dict.fromkeys(wanted[key], vector))
        return found

    def _cut(self, vector: Vectors) -> Vectors | None:
        try:
            (cut,) = cut_vectors(vector[None], self._dimension)
        except UncuttableVectorError:
            return None
        return np.array(cut) if is_unit(cut) else None

    def _index(self) -> None:
        """Note where each key is; the newest file that has it counts."""
        if self._is_indexed:
            return
        self._is_indexed = True
        for number, path in enumerate(self._files):
            try:
                with ParquetInput(path) as file:
                    for row_group in range(file.num_row_groups):
                        keys = read_keys(file, row_group)
                        self._scratch.executemany(
                            "INSERT OR IGNORE INTO kept VALUES (?, ?, ?, ?)",
                            ((key, number, row_group, row) for row, key in enumerate(keys)),
                        )
            except ConfigurationError:
                self._pass_over(path, "is damaged")

    def _places(self, keys: Sequence[bytes]) -> dict[tuple[int, int], list[tuple[bytes, int]]]:
        """Return where keys are, those of one row group together."""
        places: dict[tuple[int, int], list[tuple[bytes, int]]] = defaultdict(list)
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            step = keys[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(step))
            rows = self._scratch.execute(
                f"SELECT key, file, row_group, row FROM kept WHERE key IN ({marks})",  # noqa: S608
                step,
            )
            for key, file, row_group, row in rows:
                places[file, row_group].append((key, row))
        return places

    def _read(self, file: int, row_group: int) -> Vectors | None:
        place = (file, row_group)
        if place in self._damaged:
            return None
        if place in self._rows:
            self._rows.move_to_end(place)
            return self._rows[place]
        try:
            with ParquetInput(self._files[file]) as opened:
                rows = read_rows(opened, row_group)
        except ConfigurationError:
            self._damaged.add(place)
            self._pass_over(self._files[file], f"is damaged in row group {row_group}")
            return None
        self._rows[place] = rows
        if len(self._rows) > _ROW_GROUPS_IN_MEMORY:
            self._rows.popitem(last=False)
        return rows

    def _pass_over(self, path: Path, why: str) -> None:
        self._tell(f"keep_vectors: {path} {why}; what it held is embedded again")


def is_made_so(
    making: KeptMaking,
    *,
    contract: CollectionContract,
    width: int,
    canaries: Sequence[Canary],
) -> bool:
    """Say whether kept vectors may meet those of a collection version.

    Args:
        making: How they were made.
        contract: Of the version; its precision is what the job asks for.
        width: The model's own.
        canaries: Of the version, or of vectors that it takes; empty for none yet.
    """
    if (making.model_revision, making.width) != (contract.model_revision, width):
        return False
    if are_mixed(making.dtype, contract.dtype):
        return False
    known = {canary.text: canary.to_vector() for canary in canaries}
    smallest = min_cosine(making.dtype, contract.dtype)
    return all(
        _cosine(canary.to_vector(), known[canary.text]) >= smallest
        for canary in making.canaries
        if canary.text in known
    ) and (not known or any(canary.text in known for canary in making.canaries))


def _cosine(one: Vectors, other: Vectors) -> float:
    width = min(one.size, other.size)
    one, other = one[:width], other[:width]
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
