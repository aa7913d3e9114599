"""The settings of a job: one declaration per field."""

from collections.abc import Collection
from typing import Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from embed_index.schemas.columns import TEXT_TERMS
from embed_index.schemas.index_settings import IndexSettings
from embed_index.schemas.milvus_settings import MilvusSettings
from embed_index.schemas.model_settings import ChunkingSettings, ModelSettings
from embed_index.schemas.names import carried_source
from embed_index.schemas.quality_settings import QualitySettings
from embed_index.schemas.run_settings import RunSettings
from embed_index.schemas.server_settings import ServerSettings
from embed_index.schemas.setting import setting_fields
from embed_index.schemas.source_settings import SourceSettings

_FIRST_PASSWORD = "Milvus"  # noqa: S105 - everybody knows it
"""Of root in every new Milvus: no secret, and a word that messages need."""


# pydantic takes the fields of the last base first.
class JobSettings(
    RunSettings,
    ServerSettings,
    QualitySettings,
    IndexSettings,
    MilvusSettings,
    ChunkingSettings,
    ModelSettings,
    SourceSettings,
):
    """Everything that a job can be told.

    `model_fields_set` holds what somebody gave, so that a default can be told from a choice.
    """

    @property
    def carried(self) -> tuple[str, ...]:
        """What `carry` names, and the prefix columns that it does not name."""
        names = {carried_source(entry)[1] for entry in self.carry}
        return (*self.carry, *(x for x in self.prefix_columns if carried_source(x)[1] not in names))

    @property
    def prefix_names(self) -> tuple[str, ...]:
        """The prefix columns as the collection calls them."""
        return tuple(carried_source(entry)[1] for entry in self.prefix_columns)

    @property
    def tokens_per_batch(self) -> int:
        """The token budget of one request, never less than one whole chunk."""
        return max(self.batch_tokens, self.max_tokens)

    def secrets(self) -> tuple[str, ...]:
        """Return the secret values in clear, for those who must keep them out of a text."""
        given = (self.milvus_token, self.server_key)
        values = [secret.get_secret_value() for secret in given if secret is not None]
        passwords = [value.partition(":")[2] for value in values if ":" in value]
        return (*values, *(password for password in passwords if password != _FIRST_PASSWORD))

    @model_validator(mode="after")
    def _check_fields_together(self) -> Self:
        if self.overlap_tokens >= self.max_tokens:
            raise _conflict(
                f"overlap_tokens ({self.overlap_tokens}) must be smaller than "
                f"max_tokens ({self.max_tokens})",
                fields=["overlap_tokens", "max_tokens"],
            )
        if "batch_tokens" in self.model_fields_set and self.batch_tokens < self.max_tokens:
            raise _conflict(
                f"batch_tokens ({self.batch_tokens}) must hold a chunk of "
                f"max_tokens ({self.max_tokens})",
                fields=["batch_tokens", "max_tokens"],
            )
        if len(self.resource_groups) not in (0, 1, self.replicas):
            raise _conflict(
                f"resource_groups names {len(self.resource_groups)} for {self.replicas} replicas;"
                " it is one for all, or one for each",
                fields=["replicas", "resource_groups"],
            )
        if self.text_analyzer != "standard" and not self.text_search:
            raise _conflict(
                "text_analyzer says how words are searched for, and text_search is off",
                fields=["text_search", "text_analyzer"],
            )
        if self.text_search and TEXT_TERMS in (carried_source(entry)[1] for entry in self.carried):
            raise _conflict(
                f"carry names {TEXT_TERMS!r}, a field that every collection with text_search has;"
                f" carry it under another name: {f'{TEXT_TERMS} as other_name'!r}",
                fields=["carry", "text_search"],
            )
        needing = [
            name
            for name in ("quality_qrels", "min_ndcg", "max_drop")
            if self.quality_queries is None and getattr(self, name) is not None
        ]
        if needing:
            raise _conflict(
                f"{needing[0]} is about queries, and none are named",
                fields=["quality_queries", needing[0]],
            )
        if self.rebuild and self.limit is not None:
            raise _conflict(
                "limit leaves the rest of the corpus out, and rebuild needs all of it",
                fields=["limit", "rebuild"],
                exclusive=True,
            )
        if self.max_cost is not None and self.price_per_gpu_hour is None:
            raise _conflict(
                "max_cost needs to know what an hour costs: set price_per_gpu_hour",
                fields=["price_per_gpu_hour", "max_cost"],
            )
        if self.id_from == "column" and self.text_column == (self.id_column,):
            raise _conflict(
                f"id_column and text_column are both {self.id_column!r}",
                fields=["id_column", "text_column"],
            )
        return self


def _conflict(message: str, *, fields: list[str], exclusive: bool = False) -> PydanticCustomError:
    """Return the error of two settings.

    Args:
        message: What is wrong with them.
        fields: Their names; first the one to set, or to set otherwise.
        exclusive: Whether one of them must be left out instead.
    """
    context = {"message": message, "fields": fields, "exclusive": exclusive}
    return PydanticCustomError("conflict", "{message}", context)


SETTINGS = setting_fields(JobSettings)
"""Every declared setting, in the order of the job file."""


def settings_of(sections: Collection[str]) -> tuple[str, ...]:
    """Return the names of the settings of some sections."""
    return tuple(field.name for field in SETTINGS if field.section in sections)
