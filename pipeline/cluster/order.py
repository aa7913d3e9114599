"""What a driver and its workers tell one another. No I/O.

An order goes out as JSON: a node with another version of this program must be able to refuse it.
"""

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict

from embed_index.pipeline.embedding.embedder import RequestRefusedError
from embed_index.pipeline.embedding.preflight import ServerAccess
from embed_index.schemas.errors import ConfigurationError, EmbedIndexError, ServerError
from embed_index.schemas.precision import Dtype

_COMPARED = ("ray", "sglang", "embed-index")


class WorkOrder(BaseModel):
    """What every worker of a run serves, and how."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str
    """Folder on every node, or the hub's id."""
    hub_revision: str | None
    revision: str
    """What `ModelFiles.revision` is on the driver's host."""
    dtype: Dtype
    on_gpu: bool
    dimension: int
    max_tokens: int
    answer_seconds: float
    start_seconds: float
    extra_flags: tuple[str, ...]
    log_folder: str
    log_owner: str
    canary_ids: tuple[tuple[int, ...], ...]
    """Of the texts that prove a server, one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A worker's server runs and was proven on its node."""

    access: ServerAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """Why a worker embeds nothing, or nothing any more."""

    message: str
    remedy: str = ""
    is_configuration: bool = False
    """Whether it stays so until somebody changes something."""

    @classmethod
    def because(cls, error: EmbedIndexError) -> Self:
        """Make an answer of an error; no key and no text is in those."""
        return cls(
            message=error.message,
            remedy=error.remedy,
            is_configuration=isinstance(error, ConfigurationError),
        )

    def as_error(self) -> EmbedIndexError:
        """Return what the driver makes of it."""
        kind = ConfigurationError if self.is_configuration else ServerError
        return kind(self.message, remedy=self.remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A batch in which an input cannot be embedded; see `RequestRefusedError`."""

    reason: str
    detail: str
    places: tuple[int, ...]

    def as_error(self) -> RequestRefusedError:
        """Return what the driver raises."""
        return RequestRefusedError(self.reason, detail=self.detail, places=self.places)


def versions() -> dict[str, str]:
    """Return what must be the same on all nodes; an absent package is called so."""
    found = {"python": platform.python_version()}
    for name in _COMPARED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe_differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Say what a node has otherwise than the driver; empty for nothing."""
    return ", ".join(
        f"{name} {here.get(name, 'not installed')} (the driver has {version})"
        for name, version in there.items()
        if here.get(name) != version
    )
