"""One document, cut as a run would cut it."""

import gzip
from dataclasses import dataclass
from pathlib import Path

from embed_index.jobs.adapters.inputs import build_splitter, open_corpus
from embed_index.pipeline.storage.requests import BRIEF
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.records import ChunkSpan
from embed_index.schemas.settings import JobSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CutDocument:
    """A text and where it is cut."""

    name: str
    text: str
    spans: tuple[ChunkSpan, ...]
    max_tokens: int


def cut_file(settings: JobSettings, file: Path) -> CutDocument:
    """Cut a text file, such as Markdown; a gzipped one, such as a manual page, is unpacked.

    Raises:
        ConfigurationError: It cannot be read as text, or the model is unusable.
    """
    try:
        raw = file.read_bytes()
        text = (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"chunk: {file} cannot be read as UTF-8 text ({type(error).__name__})",
            remedy="Give a text file; a document of a Parquet corpus is named by --id.",
        ) from error
    return _cut(settings, text, name=str(file))


def cut_of_corpus(settings: JobSettings, doc_id: str) -> CutDocument:
    """Cut a document of a job's corpus.

    Raises:
        ConfigurationError: The corpus or the model is unusable, or there is no such document.
    """
    for rows in open_corpus(settings, patience=BRIEF).read():
        for place, known in enumerate(rows.doc_ids):
            if known == doc_id:
                document = rows.document(place)
                return _cut(settings, document.text, name=doc_id, about=document.about)
    raise ConfigurationError(
        f"chunk: the corpus has no usable document {doc_id!r}",
        remedy="Check the id, --input and --id-column.",
    )


def _cut(settings: JobSettings, text: str, *, name: str, about: str = "") -> CutDocument:
    spans = tuple(build_splitter(settings).split(text, about=about))
    return CutDocument(name=name, text=text, spans=spans, max_tokens=settings.max_tokens)
