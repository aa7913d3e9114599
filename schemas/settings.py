"""The settings of a job: one declaration per field."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from embed_index.schemas import setting_checks as check
from embed_index.schemas.columns import TEXT_TERMS
from embed_index.schemas.indexes import IndexType
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.names import carried_source
from embed_index.schemas.precision import Dtype
from embed_index.schemas.setting import Setting, setting_fields

MAX_SECONDS = 86_400
MAX_DAYS = 36_500


class JobSettings(BaseModel):
    """Everything that a job can be told.

    `model_fields_set` holds what somebody gave, so that a default can be told from a choice.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        # Help and completion only ask what is declared, and are quicker without.
        defer_build=True,
    )

    input: Annotated[
        tuple[str, ...],
        Setting(
            section="source",
            help="Parquet file, folder or glob pattern; may be repeated.",
            location="path_or_url",
        ),
        AfterValidator(check.distinct),
    ] = ()
    id_column: Annotated[
        str, Setting(section="source", help="Column with the document's id."), Field(min_length=1)
    ] = "id"
    id_from: Annotated[
        Literal["column", "text", "place"],
        Setting(
            section="source",
            help="What ids are: a column's values, the text's hash, or the place (file and row).",
        ),
    ] = "column"
    text_column: Annotated[
        str, Setting(section="source", help="Column with the document's text."), Field(min_length=1)
    ] = "text"
    where: Annotated[
        str,
        Setting(
            section="source",
            help="Condition on columns, such as lang == 'de' and year >= 2024; the rest is left "
            "out, and not deleted.",
        ),
    ] = ""
    carry: Annotated[
        tuple[str, ...],
        Setting(
            section="source",
            help="Metadata column to store beside the chunks ('name' or 'name as other'); may be "
            "repeated.",
            separator=",",
        ),
        AfterValidator(check.carried_names),
    ] = ()
    on_bad_file: Annotated[
        Literal["stop", "skip"],
        Setting(
            section="source",
            help="What a file that cannot be read does: end the run, or count as a dead letter.",
        ),
    ] = "stop"

    model: Annotated[
        str,
        Setting(
            section="model",
            help="Embedding model: a Hugging Face or ModelScope id, or a local folder.",
            location="model",
        ),
        Field(min_length=1),
    ] = "Qwen/Qwen3-Embedding-0.6B"
    model_source: Annotated[
        Literal["huggingface", "modelscope"],
        Setting(section="model", help="Where a model id is downloaded from."),
    ] = "huggingface"
    revision: Annotated[
        str | None,
        Setting(section="model", help="Commit, tag or branch of the model; none for the newest."),
    ] = None
    dimension: Annotated[
        int | None,
        Setting(section="model", help="Width of the vectors, from 32; none for the model's own."),
        Field(ge=32, le=32_768),
    ] = None
    dtype: Annotated[
        Dtype,
        Setting(
            section="model",
            help="Precision; auto is the checkpoint's own if quantised, else bfloat16 on CUDA and "
            "float32 on the CPU.",
        ),
    ] = "auto"
    mixed_precision: Annotated[
        bool,
        Setting(
            section="model",
            help="Let quantised vectors, such as fp8, and others meet in one collection.",
        ),
    ] = False
    document_instruction: Annotated[
        str, Setting(section="model", help="Task put before every document; empty for none.")
    ] = ""
    query_instruction: Annotated[
        str,
        Setting(section="model", help="Task put before every query; stored for those who search."),
    ] = "Given a web search query, retrieve relevant passages that answer the query"

    max_tokens: Annotated[
        int,
        Setting(
            section="chunking",
            help="Longest chunk, counting instruction, text and end token; 1 to 32768.",
        ),
        Field(ge=1, le=MAX_CONTEXT_TOKENS),
    ] = 1024
    overlap_tokens: Annotated[
        int,
        Setting(section="chunking", help="Tokens that a chunk shares with the one before it."),
        Field(ge=0),
    ] = 0

    collection: Annotated[
        str,
        Setting(section="milvus", help="Name by which searches find the collection."),
        AfterValidator(check.collection_name),
    ] = ""
    milvus_uri: Annotated[
        str,
        Setting(
            section="milvus",
            key="uri",
            env="MILVUS_URI",
            help="Path ending in .db for embedded Milvus Lite, or http(s)://host:port of a server.",
            location="path_or_url",
        ),
        AfterValidator(check.milvus_uri),
    ] = ".embed-index/milvus.db"
    milvus_token: Annotated[
        SecretStr | None,
        Setting(
            section="milvus",
            key="token",
            env="MILVUS_TOKEN",
            credential="milvus-token",
            help="Token, or user:password, of the Milvus server.",
        ),
        AfterValidator(check.header_secret),
    ] = None
    milvus_db: Annotated[
        str,
        Setting(
            section="milvus",
            key="db",
            env="MILVUS_DB",
            help="Database on the Milvus server; empty for the default one.",
        ),
    ] = ""
    milvus_ca_file: Annotated[
        Path | None,
        Setting(
            section="milvus",
            key="ca_file",
            env="MILVUS_CA_FILE",
            help="PEM file of the authority that signed the Milvus server's certificate.",
            location="path",
        ),
    ] = None

    index_type: Annotated[
        IndexType,
        Setting(section="index", help="Index over the vectors; auto is Milvus' own choice."),
    ] = "auto"
    index_params: Annotated[
        tuple[str, ...],
        Setting(
            section="index",
            help="What it is made with, such as M=32 or nlist=2048; may be repeated.",
            separator=",",
        ),
        AfterValidator(check.index_params),
    ] = ()
    text_search: Annotated[
        bool,
        Setting(
            section="index",
            help="Let the collection be searched by words, too (BM25); needs Milvus Lite or 2.5.",
        ),
    ] = False
    text_analyzer: Annotated[
        str,
        Setting(
            section="index",
            help="What takes texts apart into words: standard, english, chinese, or Milvus' JSON.",
        ),
        AfterValidator(check.text_analyzer),
    ] = "standard"

    quality_queries: Annotated[
        Path | None,
        Setting(
            section="quality",
            key="queries",
            help="Queries that a version is judged by, as eval reads them; none for no judging.",
            location="path",
        ),
    ] = None
    quality_qrels: Annotated[
        Path | None,
        Setting(
            section="quality",
            key="qrels",
            help="Which documents answer them; none where the queries say so themselves.",
            location="path",
        ),
    ] = None
    min_ndcg: Annotated[
        float | None,
        Setting(
            section="quality",
            help="Smallest nDCG@10 with which a new version goes live, 0 to 1; none for any.",
        ),
        Field(ge=0, le=1),
    ] = None
    max_drop: Annotated[
        float | None,
        Setting(
            section="quality",
            help="How far nDCG@10 may be below the live version's, such as 0.02; none for any.",
        ),
        Field(ge=0, le=1),
    ] = None
    ungated: Annotated[
        bool,
        Setting(
            section="quality",
            help="Let a new version go live whatever its quality, once.",
            flag_only=True,
        ),
    ] = False

    server_url: Annotated[
        tuple[str, ...],
        Setting(
            section="server",
            key="url",
            env="EMBEDDING_API_BASE",
            help="Running embedding server to use, may be repeated; none starts one for the run.",
            separator=",",
        ),
        AfterValidator(check.server_urls),
    ] = ()
    server_key: Annotated[
        SecretStr | None,
        Setting(
            section="server",
            key="key",
            env="EMBEDDING_API_KEY",
            credential="embedding-api-key",
            help="API key of the embedding server.",
        ),
        AfterValidator(check.header_secret),
    ] = None
    server_port: Annotated[
        int,
        Setting(
            section="server",
            key="port",
            help="Loopback port of the server that is started; 0 for any free one.",
        ),
        Field(ge=0, le=65_535),
    ] = 0
    server_extra_args: Annotated[
        tuple[str, ...],
        Setting(
            section="server",
            key="extra_args",
            help="Further SGLang arguments, such as '--mem-fraction-static 0.8'; may be repeated.",
            separator=" ",
            private=True,
        ),
        AfterValidator(check.server_arguments),
    ] = ()
    start_timeout_seconds: Annotated[
        float,
        Setting(section="server", help="How long the server may take to start."),
        Field(gt=0, le=MAX_SECONDS),
    ] = 900.0
    request_timeout_seconds: Annotated[
        float,
        Setting(section="server", help="How long one embedding request may take."),
        Field(gt=0, le=MAX_SECONDS),
    ] = 300.0
    batch_tokens: Annotated[
        int,
        Setting(section="server", help="Token budget of one request; at least one whole chunk."),
        Field(ge=1),
    ] = 16_384
    max_in_flight: Annotated[
        int,
        Setting(section="server", help="Requests at the server at once; 0 chooses."),
        Field(ge=0, le=4096),
    ] = 0
    gpus: Annotated[
        tuple[int, ...],
        Setting(
            section="server",
            help="GPU to start a server on, may be repeated; none for all visible or the CPU.",
            separator=",",
        ),
        AfterValidator(check.gpu_numbers),
    ] = ()

    state_dir: Annotated[
        Path,
        Setting(
            section="run",
            help="Folder of ledger, lock and dead letters, beside the job file if there is one.",
            location="path",
        ),
    ] = Path(".embed-index")
    max_dead_letters: Annotated[
        str,
        Setting(
            section="run",
            help="Dead letters that a run may end with: a count (10) or a share of documents (1%).",
        ),
        BeforeValidator(check.count_or_share),
    ] = "1%"
    retry_after_days: Annotated[
        float,
        Setting(
            section="run",
            help="Age at which a run tries again what could not be embedded; 0 for every run.",
        ),
        Field(ge=0, le=MAX_DAYS),
    ] = 30.0
    delete_missing: Annotated[
        bool, Setting(section="run", help="Delete documents that the corpus no longer has.")
    ] = False
    max_delete_share: Annotated[
        float,
        Setting(
            section="run", help="Largest share of the documents deleted without --force; 0 to 1."
        ),
        Field(ge=0, le=1),
    ] = 0.1
    force: Annotated[
        bool,
        Setting(section="run", help="Delete more than the stated share, once.", flag_only=True),
    ] = False
    rebuild: Annotated[
        bool,
        Setting(
            section="run",
            help="Fill a new version beside the live one and switch over at the end.",
            flag_only=True,
        ),
    ] = False
    limit: Annotated[
        int | None,
        Setting(
            section="run",
            help="Read only so many documents, for a first look, and delete none; none for all.",
            flag_only=True,
        ),
        Field(ge=1),
    ] = None
    max_tokens_embedded: Annotated[
        int | None,
        Setting(
            section="run",
            help="Most tokens that a run may embed; it then counts them before, which reads the "
            "corpus twice. None for any number.",
        ),
        Field(ge=0),
    ] = None
    max_cost: Annotated[
        float | None,
        Setting(
            section="run",
            help="Most that a run may be expected to cost at price_per_gpu_hour; as with "
            "max_tokens_embedded. None for any sum.",
        ),
        Field(ge=0),
    ] = None
    price_per_gpu_hour: Annotated[
        float | None,
        Setting(section="run", help="What an hour of one GPU costs, in whatever currency."),
        Field(ge=0),
    ] = None
    log_format: Annotated[
        Literal["auto", "text", "json"],
        Setting(
            section="run",
            help="Progress as a bar on a terminal (auto), not at all (text) or as JSON lines.",
        ),
    ] = "auto"
    quiet: Annotated[
        bool,
        Setting(
            section="run", help="Write nothing but errors, and with --log-format json the summary."
        ),
    ] = False
    metrics_file: Annotated[
        Path | None,
        Setting(
            section="run",
            help="Prometheus text file to write after the run; none for no file.",
            location="path",
        ),
    ] = None
    report: Annotated[
        Path | None,
        Setting(
            section="run",
            help="HTML page to write after the run; none for no page.",
            location="path",
        ),
    ] = None
    report_texts: Annotated[
        bool,
        Setting(
            section="run",
            help="Whether reports tell texts, ids and places of documents, and error messages.",
        ),
    ] = True
    report_color_by: Annotated[
        str,
        Setting(
            section="run",
            help="Carried column that colours a report's map; empty for the first that is fit.",
        ),
    ] = ""
    keep_vectors: Annotated[
        Path | None,
        Setting(
            section="run",
            help="Folder for the vectors in full width, which another dimension is made of; none "
            "keeps none.",
            location="path",
        ),
    ] = None
    grace_seconds: Annotated[
        float,
        Setting(section="run", help="How long what is in flight may take to finish on SIGTERM."),
        Field(ge=0, le=3600),
    ] = 30.0

    @property
    def tokens_per_batch(self) -> int:
        """The token budget of one request, never less than one whole chunk."""
        return max(self.batch_tokens, self.max_tokens)

    def secrets(self) -> tuple[str, ...]:
        """Return the secret values in clear, for those who must keep them out of a text."""
        given = (self.milvus_token, self.server_key)
        values = [secret.get_secret_value() for secret in given if secret is not None]
        passwords = [value.partition(":")[2] for value in values if ":" in value]
        return (*values, *passwords)

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
        if self.text_analyzer != "standard" and not self.text_search:
            raise _conflict(
                "text_analyzer says how words are searched for, and text_search is off",
                fields=["text_search", "text_analyzer"],
            )
        if self.text_search and TEXT_TERMS in (carried_source(entry)[1] for entry in self.carry):
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
            )
        if self.max_cost is not None and self.price_per_gpu_hour is None:
            raise _conflict(
                "max_cost needs to know what an hour costs: set price_per_gpu_hour",
                fields=["max_cost", "price_per_gpu_hour"],
            )
        if self.id_from == "column" and self.id_column == self.text_column:
            raise _conflict(
                f"id_column and text_column are both {self.id_column!r}",
                fields=["id_column", "text_column"],
            )
        return self


def _conflict(message: str, *, fields: list[str]) -> PydanticCustomError:
    return PydanticCustomError("conflict", "{message}", {"message": message, "fields": fields})


SETTINGS = setting_fields(JobSettings)
"""Every declared setting, in the order of the job file."""


def settings_of(sections: Collection[str]) -> tuple[str, ...]:
    """Return the names of the settings of some sections."""
    return tuple(field.name for field in SETTINGS if field.section in sections)
