"""Files of vectors in full width, kept beside a collection of a smaller dimension.

Each holds what one run embedded in some minutes, by a hash of the very token ids that the model
saw: prompt, text and end token. How they were made stands in the file's metadata.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from embed_index.pipeline.archive.files import ParquetInput, ParquetOutput, sync_folder
from embed_index.pipeline.archive.manifest import PARTIAL
from embed_index.pipeline.disk.errors import explain_disk
from embed_index.schemas.contract import Canary
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import TokenIds, Vectors

KEY, VECTORS = "key", "embedding"
_KEY_BYTES = 16
_MAKING_KEY = b"embed_index.making"
_FORMAT_VERSION = 1
_PATTERN = "vectors-*.parquet"
_FILE_BYTES = 256 << 20
_FILE_SECONDS = 300.0
"""A run that is killed loses what is in the file on its way: no more than this takes to embed."""
_DEAD_SECONDS = 86_400.0


class KeptMaking(BaseModel):
    """What a kept vector depends on beside the tokens."""

    model_config = ConfigDict(frozen=True)

    format_version: int = _FORMAT_VERSION
    model: str
    model_revision: str
    width: int
    engine: str
    dtype: str
    canaries: tuple[Canary, ...]


def key_of(token_ids: TokenIds) -> bytes:
    """Return what stands for the input of a model."""
    packed = np.ascontiguousarray(token_ids, dtype="<i4").tobytes()
    return hashlib.blake2b(packed, digest_size=_KEY_BYTES).digest()


def list_files(folder: Path) -> list[Path]:
    """Return the files that are whole, the oldest first."""
    return sorted(folder.glob(_PATTERN)) if folder.is_dir() else []


def read_making(path: Path) -> KeptMaking | None:
    """Read how a file's vectors were made; None where it is damaged, or says it in newer words."""
    try:
        with ParquetInput(path) as file:
            schema = file.schema
        making = KeptMaking.model_validate_json((schema.metadata or {})[_MAKING_KEY])
    except (ConfigurationError, KeyError, ValidationError):
        return None
    is_known = making.format_version <= _FORMAT_VERSION
    return making if is_known and schema.equals(_schema(making)) else None


def read_rows(file: ParquetInput, row_group: int) -> Vectors:
    """Return the vectors of a row group, of shape (rows, width)."""
    column = file.read(row_group, [VECTORS]).column(VECTORS).combine_chunks()
    flat: Vectors = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, column.type.list_size)


def read_keys(file: ParquetInput, row_group: int) -> list[bytes]:
    """Return the keys of a row group, in order."""
    keys: list[bytes] = file.read(row_group, [KEY]).column(KEY).to_pylist()
    return keys


class KeptWriter:
    """Writes what a run embeds; any thread may call. Leaving it finishes the last file."""

    def __init__(
        self, folder: Path, making: KeptMaking, *, file_seconds: float = _FILE_SECONDS
    ) -> None:
        """Make the folder if need be.

        Raises:
            ConfigurationError: It cannot be made, or not written to.
            UnavailableError: The disk is full or fails.
        """
        self._folder = folder
        self._making = making
        self._schema = _schema(making)
        self._file_seconds = file_seconds
        self._output: ParquetOutput | None = None
        self._began = 0.0
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left_over in folder.glob(f"{_PATTERN}{PARTIAL}"):
                # Others may write here, too; what a living run writes is never as old.
                if time.time() - left_over.stat().st_mtime > _DEAD_SECONDS:
                    left_over.unlink(missing_ok=True)
        except OSError as error:
            raise explain_disk(
                error,
                subject=f"keep_vectors: {folder} cannot be used",
                remedy="Check owner and permissions, or name another folder.",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._finish()

    def keep(self, token_ids: Sequence[TokenIds], vectors: Vectors) -> None:
        """Add vectors of full width with what they are of; raises as the constructor."""
        keys = pa.array([key_of(ids) for ids in token_ids], pa.binary(_KEY_BYTES))
        flat = pa.array(np.ascontiguousarray(vectors, dtype="<f4").reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, type=self._schema.field(VECTORS).type)
        batch = pa.RecordBatch.from_arrays([keys, column], schema=self._schema)
        with self._lock:
            if self._output is None:
                self._output = self._open()
            self._output.write(batch)
            age = time.monotonic() - self._began
            if self._output.num_bytes >= _FILE_BYTES or age >= self._file_seconds:
                self._finish()

    def _open(self) -> ParquetOutput:
        self._began = time.monotonic()
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        name = f"vectors-{moment}-{secrets.token_hex(4)}.parquet{PARTIAL}"
        return ParquetOutput(self._folder / name, self._schema, plain=(KEY, VECTORS))

    def _finish(self) -> None:
        output, self._output = self._output, None
        if output is None:
            return
        output.finish()
        try:
            output.path.rename(output.path.with_name(output.path.name.removesuffix(PARTIAL)))
            sync_folder(self._folder)
        except OSError as error:
            raise explain_disk(
                error,
                subject=f"keep_vectors: {output.path} cannot be finished",
                remedy="Check owner and permissions of the folder.",
            ) from error


def _schema(making: KeptMaking) -> pa.Schema:
    vector = pa.list_(pa.field("element", pa.float32(), nullable=False), making.width)
    return pa.schema(
        [
            pa.field(KEY, pa.binary(_KEY_BYTES), nullable=False),
            pa.field(VECTORS, vector, nullable=False),
        ],
        metadata={_MAKING_KEY: making.model_dump_json()},
    )
