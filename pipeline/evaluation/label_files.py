"""Labels from files: queries and judgements as Parquet, JSON lines, TREC's and BEIR's texts."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embed_index.pipeline.evaluation import values
from embed_index.pipeline.evaluation.labels import LabelledQueries
from embed_index.pipeline.evaluation.rows import (
    is_parquet,
    json_row,
    parquet_rows,
    text_lines,
)
from embed_index.schemas.errors import ConfigurationError

Row = tuple[int, Mapping[str, object]]

_BEIR_QUERIES = "queries.jsonl"
_BEIR_QRELS = Path("qrels") / "test.tsv"
_TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
_TOPIC_FIELD = re.compile(r"<(num|title)>\s*(?:(?:Number|Topic):)?([^<]*)", re.IGNORECASE)
_COMMENT = "# "
_NUM_QREL_WORDS = 4
_NUM_QREL_COLUMNS = 3


def read_labels(queries: Path, qrels: Path | None) -> LabelledQueries:
    """Read queries and the judgements of which documents answer them.

    Queries are Parquet or JSON lines with an id and a text, TREC topics, or lines of id, tab and
    text. Judgements are Parquet or JSON lines, TREC's four words a line, or three columns between
    tabs, with or without a head. A folder stands for BEIR's layout.

    Args:
        queries: File, or BEIR's folder.
        qrels: File, or BEIR's folder; None where the queries come with `doc_ids`, or are BEIR's.

    Raises:
        ConfigurationError: A file cannot be read, a line is malformed, or two contradict.
    """
    if queries.is_dir():
        qrels = qrels or queries / _BEIR_QRELS
        queries = queries / _BEIR_QUERIES
    if qrels is not None and qrels.is_dir():
        # Of the folder of a data set, or its folder of judgements.
        inner = qrels / _BEIR_QRELS
        qrels = inner if inner.exists() else qrels / _BEIR_QRELS.name
    asked = _read_queries(queries)
    if qrels is not None:
        judged = _Judgements(qrels)
        for number, row in _judgement_rows(qrels):
            judged.add(number, row)
        return LabelledQueries.join(
            asked.texts, judged.grades, source=f"{queries.name}, {qrels.name}"
        )
    if not asked.grades:
        raise ConfigurationError(
            f"{queries} does not say which documents answer its queries",
            remedy="Give judgements with --qrels, or queries with `doc_ids`.",
        )
    return LabelledQueries.join(asked.texts, asked.grades, source=queries.name)


@dataclass(slots=True, kw_only=True)
class _Asked:
    """What a file of queries holds."""

    texts: dict[str, str] = field(default_factory=dict)
    grades: dict[str, dict[str, int]] = field(default_factory=dict)


def _read_queries(path: Path) -> _Asked:
    asked, seen = _Asked(), dict[str, int]()
    for number, row in _query_rows(path):
        where = f"{path}, {_place(path, number)}"
        text_name = values.named(row, values.QUERY_TEXT)
        if text_name is None:
            raise _no_column(where, "a text", values.QUERY_TEXT, row)
        text = values.read_text(row[text_name], where=where)
        id_name = values.named(row, values.QUERY_ID)
        answers = values.named(row, values.ANSWERS)
        if id_name is None and answers is None:
            raise _no_column(where, "an id", values.QUERY_ID, row)
        query_id = (
            str(number)
            if id_name is None
            else values.read_id(row[id_name], where=where, what="query")
        )
        if query_id in asked.texts:
            if asked.texts[query_id] == text and answers is None:
                continue
            raise ConfigurationError(
                f"{where}: the query {query_id!r} stands in {_place(path, seen[query_id])}, too",
                remedy="Give each query an id of its own.",
            )
        asked.texts[query_id], seen[query_id] = text, number
        if answers is not None:
            asked.grades[query_id] = _read_answers(row[answers], where=where)
    if not asked.texts:
        raise ConfigurationError(f"{path} holds no query", remedy="Give a file with queries.")
    return asked


def _read_answers(value: object, *, where: str) -> dict[str, int]:
    if isinstance(value, Mapping):
        return {
            values.read_id(key, where=where, what="document"): values.read_grade(grade, where=where)
            for key, grade in value.items()
            if grade is not None
        }
    entries = value if isinstance(value, list) else [value]
    return {values.read_id(entry, where=where, what="document"): 1 for entry in entries}


def _query_rows(path: Path) -> Iterable[Row]:
    if is_parquet(path):
        return parquet_rows(path)
    lines = text_lines(path)
    first = lines[0][1].lstrip()
    if first.startswith("{"):
        return ((number, json_row(path, number, line)) for number, line in lines)
    if first.lower().startswith("<"):
        return _topics(path, lines)
    return _columns_of_queries(path, lines)


def _topics(path: Path, lines: list[tuple[int, str]]) -> Iterator[Row]:
    content = "\n".join(line for _, line in lines)
    topics = _TOPIC.findall(content)
    if not topics:
        raise ConfigurationError(
            f"{path} begins as TREC topics do, and has no <top> that is closed by </top>",
            remedy="Give topics as `<top> <num> 1 <title> words </top>`.",
        )
    for number, topic in enumerate(topics, start=1):
        fields = {
            name.lower(): " ".join(text.split()) for name, text in _TOPIC_FIELD.findall(topic)
        }
        yield number, {"query_id": fields.get("num"), "query": fields.get("title")}


def _columns_of_queries(path: Path, lines: list[tuple[int, str]]) -> Iterator[Row]:
    for place, (number, line) in enumerate(lines):
        query_id, tab, text = line.partition("\t")
        if not tab:
            raise ConfigurationError(
                f"{path}, line {number} has no tab between id and text",
                remedy="Give .parquet, .jsonl, TREC topics, or lines of id, tab and text.",
            )
        if place == 0 and query_id in values.QUERY_ID and text.strip() in values.QUERY_TEXT:
            continue
        yield number, {"query_id": query_id.strip(), "query": text}


class _Judgements:
    """Grades by query and document; what is said twice must be said alike."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[tuple[str, str], int] = {}
        self.grades: dict[str, dict[str, int]] = {}

    def add(self, number: int, row: Mapping[str, object]) -> None:
        """Take a judgement.

        Raises:
            ConfigurationError: It is malformed, or contradicts an earlier one.
        """
        where = f"{self._path}, {_place(self._path, number)}"
        found = {}
        for what, names in (("query", values.QUERY_ID), ("doc", values.DOC_ID)):
            name = values.named(row, names)
            if name is None:
                words = "a query's id" if what == "query" else "a document's id"
                raise _no_column(where, words, names, row)
            found[what] = values.read_id(
                row[name], where=where, what="query" if what == "query" else "document"
            )
        grade_name = values.named(row, values.GRADE)
        # What holds no grades lists what answers, as answers to known questions often do.
        grade = 1 if grade_name is None else values.read_grade(row[grade_name], where=where)
        key = found["query"], found["doc"]
        of_query = self.grades.setdefault(found["query"], {})
        if of_query.setdefault(found["doc"], grade) != grade:
            raise ConfigurationError(
                f"{where}: document {found['doc']!r} has the relevance {grade} for query"
                f" {found['query']!r}, and {of_query[found['doc']]} in"
                f" {_place(self._path, self._seen[key])}",
                remedy="Keep one of the two.",
            )
        self._seen.setdefault(key, number)


def _judgement_rows(path: Path) -> Iterable[Row]:
    if is_parquet(path):
        return parquet_rows(path)
    lines = text_lines(path)
    if lines[0][1].lstrip().startswith("{"):
        return ((number, json_row(path, number, line)) for number, line in lines)
    return _judgement_lines(path, lines)


def _judgement_lines(path: Path, lines: list[tuple[int, str]]) -> Iterator[Row]:
    # trec_eval passes over lines that begin so.
    lines = [entry for entry in lines if not entry[1].startswith(_COMMENT)] or lines
    split = _splitter(lines[0][1])
    for place, (number, line) in enumerate(lines):
        words = split(line)
        if len(words) == _NUM_QREL_WORDS:
            query_id, _, doc_id, grade = words
        elif len(words) == _NUM_QREL_COLUMNS:
            query_id, doc_id, grade = words
        else:
            raise ConfigurationError(
                f"{path}, line {number} has {len(words)} columns, and a judgement has four (query,"
                " 0, document, relevance) or three",
                remedy="Correct that line; ids with spaces stand between tabs.",
            )
        if place == 0 and grade.strip().lower() in values.GRADE:
            continue
        yield number, {"query_id": query_id, "doc_id": doc_id, "relevance": grade}


def _splitter(first: str) -> Callable[[str], list[str]]:
    """Return what takes lines apart: by tabs where the first one has as many as columns need."""
    if len(first.split("\t")) in (_NUM_QREL_COLUMNS, _NUM_QREL_WORDS):
        return lambda line: [column.strip() for column in line.split("\t")]
    return str.split


def _place(path: Path, number: int) -> str:
    return f"{'row' if path.suffix == '.parquet' else 'line'} {number:,}"


def _no_column(
    where: str, what: str, names: tuple[str, ...], row: Mapping[str, object]
) -> ConfigurationError:
    return ConfigurationError(
        f"{where} has no column with {what}; it has {', '.join(map(str, row)) or 'none'}",
        remedy=f"Call it {names[0]}; {', '.join(names[1:])} will do.",
    )
