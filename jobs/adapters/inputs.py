"""What a job works on, found and checked before anything is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embed_index.jobs.adapters.places import tokenizer_folder
from embed_index.pipeline.corpus.parquet import ParquetSource
from embed_index.pipeline.embedding.canaries import MAX_CANARY_TOKENS
from embed_index.pipeline.embedding.embedder import UNKNOWN
from embed_index.pipeline.host.model import refuse_broken_weights
from embed_index.pipeline.model.files import (
    ModelFiles,
    check_dimension,
    check_max_tokens,
    find_model,
)
from embed_index.pipeline.model.splitter import SPLITTER_VERSION, TextSplitter
from embed_index.pipeline.model.tokenizer import ModelTokenizer, instruction_prompt
from embed_index.pipeline.storage.requests import PATIENT, Patience
from embed_index.pipeline.storage.store import Storage
from embed_index.pipeline.storage.systems import S3Access
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import FileRecord
from embed_index.schemas.settings import JobSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInputs:
    """Model, tokenizer and corpus of a job."""

    settings: JobSettings
    model: ModelFiles
    dimension: int
    tokenizer: ModelTokenizer
    splitter: TextSplitter
    source: ParquetSource

    def contract(self) -> CollectionContract:
        """Return how this job makes vectors, as far as it is known without a server."""
        settings = self.settings
        return CollectionContract(
            collection_id="",
            model=self.model.name,
            model_revision=self.model.revision,
            tokenizer_fingerprint=self.tokenizer.fingerprint,
            dimension=self.dimension,
            dtype=self._wanted_precision(),
            document_prompt=instruction_prompt(settings.document_instruction),
            query_prompt=instruction_prompt(settings.query_instruction),
            max_tokens=settings.max_tokens,
            overlap_tokens=settings.overlap_tokens,
            splitter=SPLITTER_VERSION,
            prefix_columns=settings.prefix_names,
            prefix_headings=settings.prefix_headings,
            carried_columns=tuple(column.name for column in self.source.carried_columns),
            vector_type=settings.vector_type,
            partition_key=settings.partition_key,
            shards=settings.shards,
            text_analyzer=settings.text_analyzer if settings.text_search else "",
            engine="",
        ).with_format()

    def _wanted_precision(self) -> str:
        """Return what a server of this job computes in, as far as its settings say it."""
        settings = self.settings
        if settings.dtype == "auto" and self.model.quantization is not None:
            return self.model.quantization
        is_told = settings.dtype != "auto" or not (
            settings.server_url or settings.server_extra_args
        )
        return settings.dtype if is_told else UNKNOWN


def check_provable(model: ModelFiles) -> None:
    """Refuse a model for which the texts that prove a server are too long."""
    if model.max_positions < MAX_CANARY_TOKENS:
        raise ConfigurationError(
            f"model: {model.name} has {model.max_positions:,} positions, and the texts that prove"
            f" a server have up to {MAX_CANARY_TOKENS:,} tokens",
            remedy=f"Use a model of at least {MAX_CANARY_TOKENS:,} positions.",
        )


def check_own_weights(settings: JobSettings, model: ModelFiles) -> None:
    """Refuse a folder's weights that a server of our own could not load, before it is started.

    Those of a hub's model are fetched by the server, and another's server has its own.

    Raises:
        ConfigurationError: They are not whole.
    """
    if not settings.server_url and model.hub_revision is None:
        refuse_broken_weights(Path(model.location))


def open_corpus(
    settings: JobSettings,
    *,
    skip_bad_files: bool = False,
    known_files: Mapping[str, FileRecord] | None = None,
    patience: Patience = PATIENT,
) -> ParquetSource:
    """Open the files of a job; other arguments and errors as of `check_inputs`.

    Args:
        settings: Of the job.
        skip_bad_files: Whether files that cannot be read are left out.
        known_files: What is known of them from the last run.
        patience: How long their stores are waited for.
    """
    return ParquetSource(
        settings.input,
        id_column=settings.id_column,
        text_columns=settings.text_column,
        carry=settings.carried,
        prefix_columns=settings.prefix_names,
        id_from=settings.id_from,
        where=settings.where,
        skip_bad_files=skip_bad_files,
        known_files=known_files,
        storage=open_storage(settings, patience=patience),
    )


def open_storage(settings: JobSettings, *, patience: Patience = PATIENT) -> Storage:
    """Return the stores of a job, of which none is asked anything yet.

    Args:
        settings: Of the job.
        patience: How long each is waited for.
    """
    access = S3Access(endpoint=settings.source_endpoint, region=settings.source_region)
    return Storage(access, patience=patience)


def check_inputs(
    settings: JobSettings,
    *,
    skip_bad_files: bool = False,
    known_files: Mapping[str, FileRecord] | None = None,
) -> JobInputs:
    """Find model and corpus and check them against the settings.

    Args:
        settings: Of the job.
        skip_bad_files: Whether files that cannot be read are left out; only for what takes nothing
            for missing because it was not read.
        known_files: What the ledger knows of the corpus' files.

    Raises:
        ConfigurationError: A setting, a file or a column is unusable.
    """
    inputs = look_at_inputs(
        settings, skip_bad_files=skip_bad_files, known_files=known_files, may_write=True
    )
    check_own_weights(settings, inputs.model)
    return inputs


def look_at_inputs(
    settings: JobSettings,
    *,
    skip_bad_files: bool = False,
    known_files: Mapping[str, FileRecord] | None = None,
    may_write: bool = False,
) -> JobInputs:
    """Do as `check_inputs`, for those who start no server: the model's weights need not be there.

    Args:
        settings: Of the job.
        skip_bad_files: Whether files that cannot be read are left out.
        known_files: What the ledger knows of the corpus' files.
        may_write: Whether what follows from the tokenizer is kept in the state folder.

    Raises:
        ConfigurationError: A setting, a file or a column is unusable.
    """
    # What is at hand comes first: a model may have to be asked for, and fetched.
    source = open_corpus(settings, skip_bad_files=skip_bad_files, known_files=known_files)
    model = find_model(settings.model, source=settings.model_source, revision=settings.revision)
    dimension = check_dimension(settings.dimension, model)
    check_max_tokens(settings.max_tokens, model)
    check_provable(model)
    tokenizer = ModelTokenizer.load(model, cache=tokenizer_folder(settings), may_write=may_write)
    splitter = _splitter(settings, tokenizer)
    return JobInputs(
        settings=settings,
        model=model,
        dimension=dimension,
        tokenizer=tokenizer,
        splitter=splitter,
        source=source,
    )


def build_splitter(settings: JobSettings) -> TextSplitter:
    """Return what cuts the documents of a job, without a look at its corpus and its weights.

    Raises:
        ConfigurationError: There is no such model, or a setting does not fit it.
    """
    model = find_model(settings.model, source=settings.model_source, revision=settings.revision)
    check_max_tokens(settings.max_tokens, model)
    return _splitter(settings, ModelTokenizer.load(model, cache=tokenizer_folder(settings)))


def _splitter(settings: JobSettings, tokenizer: ModelTokenizer) -> TextSplitter:
    return TextSplitter(
        tokenizer,
        max_tokens=settings.max_tokens,
        overlap_tokens=settings.overlap_tokens,
        prompt=instruction_prompt(settings.document_instruction),
        prefix_headings=settings.prefix_headings,
    )
