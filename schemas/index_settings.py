"""The settings of the section [index]: how Milvus keeps and finds what a collection holds."""

from typing import Annotated

from pydantic import AfterValidator, Field

from embed_index.schemas import setting_checks as check
from embed_index.schemas.indexes import IndexType, Metric, VectorType
from embed_index.schemas.setting import Section, Setting


class IndexSettings(Section):
    """How Milvus keeps the collection, and finds in it."""

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
    metric: Annotated[
        Metric,
        Setting(
            section="index",
            help="How vectors are compared: by cosine, or ip, the inner product, which is the same "
            "for ours.",
        ),
    ] = "cosine"
    vector_type: Annotated[
        VectorType,
        Setting(
            section="index",
            help="How vectors are stored; float16 and bfloat16 take half, a rebuild, and a server "
            "from 2.4.",
        ),
    ] = "float32"
    scalar_indexes: Annotated[
        tuple[str, ...],
        Setting(
            section="index",
            help="Carried column that filters find rows by quickly; may be repeated.",
            separator=",",
        ),
        AfterValidator(check.distinct),
    ] = ()
    mmap: Annotated[
        bool,
        Setting(
            section="index",
            help="Let Milvus map its files into memory rather than read them; a server from 2.4.",
        ),
    ] = False
    replicas: Annotated[
        int,
        Setting(section="index", help="How often a server holds the collection in memory."),
        Field(ge=1, le=1024),
    ] = 1
    resource_groups: Annotated[
        tuple[str, ...],
        Setting(
            section="index",
            help="Resource group of the server that holds it; one for all replicas, or one for "
            "each; may be repeated.",
            separator=",",
        ),
        AfterValidator(check.resource_groups),
    ] = ()
    shards: Annotated[
        int,
        Setting(section="index", help="Channels by which a server takes rows; needs a rebuild."),
        Field(ge=1, le=16),
    ] = 1
    partition_key: Annotated[
        str,
        Setting(
            section="index",
            help="Carried column by whose values Milvus parts the rows; needs a rebuild, and a "
            "server from 2.4 or Milvus Lite.",
        ),
    ] = ""
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
