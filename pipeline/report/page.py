"""The report as one page of HTML that needs nothing else."""

import base64
import hashlib
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from embed_index.pipeline.report import sections, words
from embed_index.pipeline.report.charts import no_extra
from embed_index.pipeline.report.contents import ReportContents
from embed_index.pipeline.report.head import head
from embed_index.pipeline.report.map import ChunkMap
from embed_index.pipeline.report.parts import Section

_TEMPLATES = files("embed_index.pipeline.report") / "templates"


def render_report(contents: ReportContents) -> str:
    """Return the page.

    What documents say is escaped wherever it stands, and the page's policy lets no script run but
    its own, and nothing be fetched.

    Raises:
        ConfigurationError: The extra `report` is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise no_extra(error) from error
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_read),
    )
    environment.filters.update(
        count=words.count,
        short=words.short,
        size=words.size,
        share=words.share,
        span=words.span,
        moment=words.moment,
        day=words.day,
    )
    script = _read("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        contents=contents,
        head=head(contents),
        sections=tuple(_sections(contents)),
        script=script,
        script_hash=f"sha256-{digest}",
        style=_read("report.css"),
        map_data=_embedded(map_as_fields(contents.map)) if contents.map else "",
    )


def map_as_fields(drawn: ChunkMap) -> dict[str, Any]:
    """Return what the page's script reads."""
    chunks = drawn.chunks
    return {
        "x": drawn.xs,
        "y": drawn.ys,
        "group": drawn.group_of,
        "groups": [[group.name, group.colour] for group in drawn.groups],
        "column": drawn.column,
        "id": [chunk.doc_id for chunk in chunks],
        "chunk": [[chunk.chunk_index + 1, chunk.num_chunks] for chunk in chunks],
        "tokens": [chunk.num_tokens for chunk in chunks],
        "text": [chunk.text for chunk in chunks],
    }


def _sections(contents: ReportContents) -> Iterator[Section]:
    for make in sections.ALL:
        section = make(contents)
        if section is not None:
            yield section


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _embedded(fields: object) -> str:
    """Write JSON that no parser of HTML or JavaScript takes for anything but data."""
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    for character in "<\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
