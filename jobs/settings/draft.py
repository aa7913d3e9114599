"""Drafts a job file for a corpus that was looked at: every choice with its reason beside it."""

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from embed_index.jobs.settings.show import toml_literal
from embed_index.pipeline.corpus.guesses import (
    GuessedColumn,
    called_as_ids,
    guess_carried,
    guess_id,
    guess_text,
    guess_title,
)
from embed_index.pipeline.corpus.survey import CorpusSurvey, SurveyedColumn, survey_corpus
from embed_index.pipeline.storage.address import scheme_of
from embed_index.pipeline.storage.requests import BRIEF
from embed_index.pipeline.storage.store import Storage
from embed_index.pipeline.storage.systems import S3Access
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.settings import JobSettings

_BYTES_PER_TOKEN = 4
"""Of English and Chinese alike, roughly, for Qwen's tokenizer."""
_PROMPT_TOKENS = 32
_CHUNK_TOKENS = (256, 512, 1024)
_MAX_NAME = 100
_PART_OF_MANY = re.compile(r"[-_.]?(part[-_.]?)?\d+[-_]of[-_]\d+$")
_VERSION_SUFFIX = re.compile(r"(_v[0-9]+)+$")
_DEFAULTS = JobSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job file, and what only people can decide."""

    text: str
    open_question: str
    """Empty for none."""
    unreadable: tuple[str, ...]
    """Files that were not looked at, and why."""
    notices: tuple[str, ...]
    """What should be said of files that are no part of the corpus."""


def draft_job_file(corpus: str, *, folder: Path, settings: JobSettings) -> Draft:
    """Look at a corpus and draft its job file.

    Args:
        corpus: Parquet file, or folder with some, on a disk or in a store.
        folder: Where the job file will lie.
        settings: Say where stores are.

    Raises:
        ConfigurationError: The corpus cannot be read, or no column of it can be the text.
        UnavailableError: Its store stays away.
    """
    endpoint, region = settings.source_endpoint, settings.source_region
    storage = Storage(S3Access(endpoint=endpoint, region=region), patience=BRIEF)
    survey = survey_corpus([corpus], storage=storage)
    place = {"input": corpus}
    if scheme_of(corpus) is None:
        place = {"input": _named_from(folder, Path(corpus))}
    elif scheme_of(corpus) != "file":
        place |= {key: x for key, x in (("endpoint", endpoint), ("region", region)) if x}
    return draft(survey, place=place, name=_name_of(corpus))


def write_draft(text: str, *, output: Path) -> None:
    """Write a new job file.

    Raises:
        ConfigurationError: There is a file of that name, or none can be written.
    """
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(
            f"{output} exists, and is not overwritten",
            remedy="Name another file with --output, or print the draft with --output -.",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{output} cannot be written: {error.strerror}",
            remedy="Name a file in a folder that you may write to with --output.",
        ) from None


def draft(survey: CorpusSurvey, *, place: Mapping[str, str], name: str) -> Draft:
    """Draft the job file of a surveyed corpus.

    Args:
        survey: What the corpus looks like.
        place: What the job file shall say of where it is, by key.
        name: Of the corpus, of which the collection's name is made.

    Raises:
        ConfigurationError: No column of the corpus can be the text.
    """
    text = guess_text(survey)
    if text is None and not survey.columns and survey.num_files > 1:
        raise ConfigurationError(
            f"{place['input']} has {survey.num_files:,} files without a column in common",
            remedy="A corpus is files of one kind: name one of them, or a folder of their own.",
        )
    if text is None:
        raise _no_text(survey, corpus=place["input"])
    identity = guess_id(survey, text=text.column)
    sections = (
        _source(survey, place=place, text=text, identity=identity),
        _MODEL,
        _chunking(text.column, title=guess_title(survey, text=text.column)),
        _milvus(name),
    )
    head = (
        f"# A job for {counted(survey.num_rows, 'row')} in {counted(survey.num_files, 'file')},"
        f" drafted by `embed-index init` from the first\n# {counted(survey.num_rows_seen, 'row')}."
        " Read it, change it, then:"
        " embed-index run THIS_FILE --show-config\n"
    )
    return Draft(
        text="\n".join((head, *sections)),
        open_question=_open_question(survey, text=text.column, identity=identity),
        unreadable=survey.unreadable,
        notices=survey.notices,
    )


def _no_text(survey: CorpusSurvey, *, corpus: str) -> ConfigurationError:
    strings = [toml_literal(x.name) for x in survey.columns if x.is_text and x.mean_bytes]
    if strings:
        return ConfigurationError(
            f"{corpus} has no column whose strings read like texts; they are as short as labels,"
            f" or have no white space: {', '.join(strings)}",
            remedy="If one of them is the text all the same, name it in a job file of your own with"
            " `text_column` under [source], or with `embed-index run --text-column NAME`.",
        )
    return ConfigurationError(
        f"{corpus} has no column of texts; it has {_listed(survey) or 'no columns'}",
        remedy="The text must be a column of strings that are not all empty.",
    )


def _named_from(folder: Path, corpus: Path) -> str:
    """Name a corpus as a job file does: relative to the job file where it lies below it."""
    corpus, folder = Path(os.path.abspath(corpus)), Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links
    return str(corpus.relative_to(folder) if corpus.is_relative_to(folder) else corpus)


def _name_of(corpus: str) -> str:
    if scheme_of(corpus) is not None:
        return PurePosixPath(corpus).name.removesuffix(".parquet")
    whole = Path(os.path.abspath(corpus))  # noqa: PTH100 - resolve() would follow links
    return whole.name if whole.is_dir() else whole.stem


def collection_name(name: str) -> str:
    """Make a name that Milvus takes of that of a file or folder."""
    plain = unicodedata.normalize("NFKD", _PART_OF_MANY.sub("", name))
    ascii_only = "".join(c for c in plain if not unicodedata.combining(c))
    words = re.sub(r"[^A-Za-z0-9]+", "_", ascii_only).strip("_").lower()[:_MAX_NAME]
    stem = _VERSION_SUFFIX.sub("", words).strip("_") or "documents"
    return f"documents_{stem}" if stem[0].isdigit() or _VERSION_SUFFIX.search(stem) else stem


def _source(
    survey: CorpusSurvey,
    *,
    place: Mapping[str, str],
    text: GuessedColumn,
    identity: GuessedColumn | None,
) -> str:
    lines = ["[source]", *(f"{key} = {toml_literal(value)}" for key, value in place.items())]
    lines += [f"# Not looked at, and a run would end here: {_bare(x)}" for x in survey.unreadable]
    lines += ['# on_bad_file = "skip"  # to leave such files out, as dead letters'] * bool(
        survey.unreadable
    )
    question = _open_question(survey, text=text.column, identity=identity)
    lines += [f"# TO DECIDE: {question}".replace("\n", "\n# ")] if question else []
    if identity is None:
        lines.append('# id_column = "…"')
    else:
        lines.append(f"id_column = {toml_literal(identity.column.name)}  # {identity.reason}")
    lines.append(f"text_column = {toml_literal(text.column.name)}  # {text.reason}")
    title = guess_title(survey, text=text.column)
    if title is not None:
        both = toml_literal([title.name, text.column.name])
        lines.append(f"# text_column = {both}  # to have the title in the text, too; or see below")
    taken = (text.column, None if identity is None else identity.column)
    carried, left = guess_carried(survey, others=taken)
    if carried:
        lines.append(
            "# Stored beside every chunk, for filters; take out what searches do not need:"
        )
        types = ", ".join(f"{_bare(column.name)} {column.type}" for column in carried)
        lines += [f"# {types}", f"carry = {toml_literal([column.name for column in carried])}"]
    if left:
        lines.append("# Not carried:")
        lines += [f"#   {_bare(g.column.name)} ({g.column.type}): {g.reason}" for g in left]
    return "\n".join(lines) + "\n"


def _open_question(
    survey: CorpusSurvey, *, text: SurveyedColumn, identity: GuessedColumn | None
) -> str:
    if identity is None:
        known = called_as_ids(survey, text=text)
        seen = "; ".join(f"{_bare(c.name)} {c.unfit_as_id or 'has white space'}" for c in known)
        return (
            "no column tells the documents apart in the first"
            f" {counted(survey.num_rows_seen, 'row')}"
            f"{f' ({seen})' if seen else ''}.\n"
            "Write the files with an id that stays with its document, and name it as id_column; or"
            ' set id_from = "text", whose ids are the texts\' hashes, or "place", file and row.'
        )
    if identity.column.unfit_as_id:
        return (
            f"{_bare(identity.column.name)}, the id by its name, {identity.column.unfit_as_id}.\n"
            "Such rows become dead letters; mend them where the files are written."
        )
    return ""


_MODEL = f"""[model]
model = {toml_literal(_DEFAULTS.model)}
# 1024 wide; Qwen3-Embedding-4B (2560) and -8B (4096) find better and cost more.
# Width of the vectors, from 32 to the model's own, which is the default. Half the width is half
# the memory in Milvus and finds a little less. Another width later means a run with --rebuild.
# dimension = 512
# The task, in English, that every query is put with; stored for those who search.
query_instruction = {toml_literal(_DEFAULTS.query_instruction)}
"""


def _chunking(text: SurveyedColumn, *, title: SurveyedColumn | None) -> str:
    tokens = -(-text.long_bytes // _BYTES_PER_TOKEN) + _PROMPT_TOKENS
    fitting = [size for size in _CHUNK_TOKENS if tokens <= size]
    why = (
        f"95% of the texts have fewer than about {tokens:,} tokens, so that nearly all stay whole"
        if fitting
        else f"longer texts (some have about {tokens:,} tokens) are cut into several chunks; up to"
        " 32768"
    )
    lines = ["[chunking]", f"max_tokens = {fitting[0] if fitting else _CHUNK_TOKENS[-1]}  # {why}"]
    if title is not None:
        named = toml_literal([title.name])
        lines.append(f"# prefix_columns = {named}  # to have the model see it before every chunk")
    return "\n".join(lines) + "\n"


def _milvus(name: str) -> str:
    return (
        f"[milvus]\ncollection = {toml_literal(collection_name(name))}\n"
        f"uri = {toml_literal(_DEFAULTS.milvus_uri)}  # embedded Milvus Lite; a server is"
        " http://127.0.0.1:19530\n"
    )


def _listed(survey: CorpusSurvey) -> str:
    return ", ".join(f"{toml_literal(column.name)} ({column.type})" for column in survey.columns)


def _bare(name: str) -> str:
    """Write a column's name in a comment, which must hold no control characters."""
    return toml_literal(name)[1:-1]
