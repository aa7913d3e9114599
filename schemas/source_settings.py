"""The settings of the section [source]: what is read."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from embed_index.schemas import setting_checks as check
from embed_index.schemas.setting import Section, Setting


class SourceSettings(Section):
    """The corpus: what is read of which files."""

    input: Annotated[
        tuple[str, ...],
        Setting(
            section="source",
            help="Parquet file, folder, pattern or address (s3://bucket/corpus); may be repeated.",
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
        tuple[str, ...],
        Setting(
            section="source",
            help="Column with the document's text; may be repeated: several, such as title and "
            "body, are joined by a blank line.",
        ),
        Field(min_length=1),
        AfterValidator(check.distinct),
    ] = ("text",)
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
    source_endpoint: Annotated[
        str,
        Setting(
            section="source",
            key="endpoint",
            env="AWS_ENDPOINT_URL",
            help="Store behind s3:// addresses, as http(s)://host:port; empty for AWS.",
        ),
        AfterValidator(check.endpoint),
    ] = ""
    source_region: Annotated[
        str,
        Setting(
            section="source",
            key="region",
            env="AWS_REGION",
            help="Region of the bucket; empty to find it out.",
        ),
    ] = ""
