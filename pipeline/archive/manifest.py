"""What an archive's folder holds: named last, so that a folder without it is no archive."""

import re
from pathlib import Path
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from embed_index.schemas.columns import CarriedColumn, CarriedType
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ConfigurationError

MANIFEST = "manifest.json"
PARTIAL = ".partial"
"""Ending of what is not whole yet, the manifest's own draft included."""
FORMAT: Final = "embed-index archive"
FORMAT_VERSION = 1
"""The newest that this program knows."""

Part: TypeAlias = Literal["chunks", "documents", "letters"]

_OURS = re.compile(rf"({re.escape(MANIFEST)}|(chunks|documents|letters)-\d{{5}}\.parquet)")
_LEFT_OVER = re.compile(rf"{_OURS.pattern}{re.escape(PARTIAL)}")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ArchivedFile(_Frozen):
    """One file of the archive."""

    name: str
    part: Part
    num_rows: int
    num_bytes: int
    sha256: str


class ArchivedColumn(_Frozen):
    """A carried column."""

    name: str
    type: CarriedType
    nullable: bool

    def column(self) -> CarriedColumn:
        """Return it as a collection has it."""
        return CarriedColumn(name=self.name, type=self.type, nullable=self.nullable)


class Manifest(_Frozen):
    """What the files are of, and how to tell that they are whole."""

    format: Literal["embed-index archive"] = FORMAT
    format_version: int = FORMAT_VERSION
    made_by: str
    exported_at: str
    """ISO 8601 in UTC."""
    collection: str
    version: str
    """Of the collection, such as `articles_v3`."""
    num_chunks: int
    num_documents: int
    dimension: int
    carried: tuple[ArchivedColumn, ...]
    contract: CollectionContract
    files: tuple[ArchivedFile, ...]

    def of_part(self, part: Part) -> tuple[ArchivedFile, ...]:
        """Return the files of one part, in order."""
        return tuple(file for file in self.files if file.part == part)


class _AnyManifest(BaseModel):
    """As much as every version of the format has."""

    model_config = ConfigDict(extra="ignore")

    format: str = ""
    format_version: int = 0


def file_name(part: Part, number: int) -> str:
    """Return the name of a part's file; numbers begin with 1."""
    return f"{part}-{number:05}.parquet"


def read_manifest(folder: Path) -> Manifest:
    """Read what a folder says it holds.

    Raises:
        ConfigurationError: It is no archive, one of a newer program, or its manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        half = any(is_left_over(file.name) for file in _listing(folder))
        why = "its export was never finished" if half else f"there is no {MANIFEST} in it"
        raise ConfigurationError(
            f"{folder} is no archive of embed-index: {why}",
            remedy="Name the folder that `embed-index export` wrote, or export again.",
        ) from error
    try:
        kind = _AnyManifest.model_validate_json(text)
    except ValidationError:
        kind = _AnyManifest()
    if kind.format != FORMAT:
        raise ConfigurationError(
            f"{path} is damaged, or was not written by embed-index",
            remedy="Name the folder that `embed-index export` wrote, or export again.",
        )
    if kind.format_version > FORMAT_VERSION:
        raise ConfigurationError(
            f"{folder} has archive format {kind.format_version}; this program knows formats up to"
            f" {FORMAT_VERSION}",
            remedy="Upgrade embed-index.",
        )
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, part["loc"])) for part in error.errors()[:3])
        raise ConfigurationError(
            f"{path} is damaged ({fields})", remedy="Copy it again, or export again."
        ) from error


def is_ours(name: str) -> bool:
    """Tell whether a file of a finished archive may have this name."""
    return _OURS.fullmatch(name) is not None


def is_left_over(name: str) -> bool:
    """Tell whether a file has the name of what an export was writing when it died."""
    return _LEFT_OVER.fullmatch(name) is not None


def _listing(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
