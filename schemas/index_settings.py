"""The settings of the section [index]: how Milvus keeps and finds what a collection holds."""

from typing import Annotated

from pydantic import AfterValidator

from embed_index.schemas import setting_checks as check
from embed_index.schemas.indexes import IndexType
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
    scalar_indexes: Annotated[
        tuple[str, ...],
        Setting(
            section="index",
            help="Carried column that filters find rows by quickly; may be repeated.",
            separator=",",
        ),
        AfterValidator(check.distinct),
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
