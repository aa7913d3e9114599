"""The settings of the sections [model] and [chunking]: what vectors are made of."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from embed_index.schemas import setting_checks as check
from embed_index.schemas.limits import MAX_CONTEXT_TOKENS
from embed_index.schemas.precision import Dtype
from embed_index.schemas.setting import Section, Setting


class ModelSettings(Section):
    """What makes vectors of texts."""

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
        # How wide the model is, is not known here.
        Field(ge=32),
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


class ChunkingSettings(Section):
    """How documents are cut."""

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
    prefix_columns: Annotated[
        tuple[str, ...],
        Setting(
            section="chunking",
            help="Column, such as title, that the model sees before every chunk ('name' or 'name "
            "as other'); it is carried, too; may be repeated.",
            separator=",",
        ),
        AfterValidator(check.carried_names),
    ] = ()
    prefix_headings: Annotated[
        bool,
        Setting(
            section="chunking",
            help="Let the model see the headings above a chunk before its text.",
        ),
    ] = False
