"""Guesses from a survey which columns hold ids, texts and metadata, and says why."""

from collections.abc import Sequence
from dataclasses import dataclass

from embed_index.pipeline.corpus.survey import CorpusSurvey, SurveyedColumn
from embed_index.schemas.counts import counted

_ID_NAMES = (
    *("id", "doc_id", "docid", "document_id", "_id", "uuid", "guid", "key", "pk"),
    *("pageid", "page_id", "url", "uri", "path", "filename", "file_name"),
)
_TEXT_NAMES = (
    *("text", "body", "content", "contents", "document", "passage", "article", "page_content"),
    *("full_text", "markdown", "description", "abstract", "summary", "message", "comment"),
    *("review", "question", "title"),
)
_TITLE_NAMES = ("title", "headline", "subject", "heading", "name")
_ID_SUFFIXES = ("id", "_key", "_no", "_number", "uuid")
_PROSE_BYTES = 20
"""A nameless column of shorter strings on average is rather of labels than of texts."""
_LABEL_BYTES = 200
_MAX_FLAWED_SHARE = 0.1
"""Of rows whose id is empty or repeated in a column that is called as ids are."""
_MAX_CARRIED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessedColumn:
    """A column, and what speaks for it."""

    column: SurveyedColumn
    reason: str


def guess_text(survey: CorpusSurvey) -> GuessedColumn | None:
    """Return the column that holds the documents' texts; None if there is none."""
    texts = [column for column in survey.columns if column.is_text and column.mean_bytes]
    longest = max(texts, key=lambda column: column.mean_bytes, default=None)
    if longest is None:
        return None
    for column in _by_name(texts, _TEXT_NAMES):
        # A title beside a body, or a summary beside an article, has a telling name, too.
        if 4 * column.mean_bytes >= longest.mean_bytes:
            return GuessedColumn(column=column, reason=f"by its name, {_lengths(column)}")
    is_prose = longest.has_spaces or longest.has_other_scripts
    if not is_prose or longest.mean_bytes < _PROSE_BYTES:
        return None
    return GuessedColumn(column=longest, reason=f"the longest strings, {_lengths(longest)}")


def guess_title(survey: CorpusSurvey, *, text: SurveyedColumn) -> SurveyedColumn | None:
    """Return the column that says what a document is about, beside its text; None for none."""
    titles = [
        column
        for column in survey.columns
        if column.is_text and column.name != text.name and 0 < column.long_bytes <= _LABEL_BYTES
    ]
    return next(iter(_by_name(titles, _TITLE_NAMES)), None)


def guess_id(survey: CorpusSurvey, *, text: SurveyedColumn) -> GuessedColumn | None:
    """Return the column whose values tell documents apart; None if no column's do."""
    fit = [
        column
        for column in survey.columns
        if column.name != text.name and not column.unfit_as_id and not column.has_spaces
    ]
    unique = f"unique and nowhere null in the first {counted(survey.num_rows_seen, 'row')}"
    for column in _by_name(fit, _ID_NAMES):
        return GuessedColumn(column=column, reason=f"by its name, {unique}")
    for column in fit:
        if column.name.lower().endswith(_ID_SUFFIXES):
            return GuessedColumn(column=column, reason=f"its name ends like an id's, {unique}")
    for column in sorted(fit, key=lambda column: column.is_integer):
        reason = f"{unique}; its name says nothing, so make sure that it stays with its document"
        return GuessedColumn(column=column, reason=reason)
    for column in _by_name(called_as_ids(survey, text=text), _ID_NAMES):
        if column.num_rows - column.num_distinct <= _MAX_FLAWED_SHARE * column.num_rows:
            reason = f"by its name, although it {column.unfit_as_id}"
            return GuessedColumn(column=column, reason=reason)
    return None


def called_as_ids(survey: CorpusSurvey, *, text: SurveyedColumn) -> list[SurveyedColumn]:
    """Return the columns that have names and types of ids, whatever their values."""
    possible = [c for c in survey.columns if c.name != text.name and (c.is_text or c.is_integer)]
    return [
        column
        for column in possible
        if column.name.lower() in _ID_NAMES or column.name.lower().endswith(_ID_SUFFIXES)
    ]


def guess_carried(
    survey: CorpusSurvey, *, others: Sequence[SurveyedColumn | None]
) -> tuple[list[SurveyedColumn], list[GuessedColumn]]:
    """Return the columns to carry for filters, then the others with what speaks against each.

    Args:
        survey: Of the corpus.
        others: Columns that serve another purpose.
    """
    taken = {column.name for column in others if column is not None}
    carried: list[SurveyedColumn] = []
    left: list[GuessedColumn] = []
    for column in survey.columns:
        if column.name in taken:
            continue
        reason = column.not_carried
        if not reason and column.long_bytes > _LABEL_BYTES:
            reason = f"Its texts are long for a filter ({_lengths(column)})."
        if not reason and len(carried) == _MAX_CARRIED:
            reason = f"{_MAX_CARRIED} are carried already; add it if searches filter by it."
        if reason:
            left.append(GuessedColumn(column=column, reason=reason))
        else:
            carried.append(column)
    return carried, left


def _by_name(columns: Sequence[SurveyedColumn], names: Sequence[str]) -> list[SurveyedColumn]:
    """Return the columns that have one of the names, in the order of the names."""
    known = [column for column in columns if column.name.lower() in names]
    return sorted(known, key=lambda column: names.index(column.name.lower()))


def _lengths(column: SurveyedColumn) -> str:
    return f"{column.mean_bytes:,.0f} bytes on average, 95% within {column.long_bytes:,}"
