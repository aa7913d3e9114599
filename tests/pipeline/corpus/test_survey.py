"""What is seen in a corpus that nobody described, and what is guessed from it."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_index.pipeline.corpus.guesses import guess_carried, guess_id, guess_text
from embed_index.pipeline.corpus.survey import CorpusSurvey, SurveyedColumn, survey_corpus
from embed_index.schemas.errors import ConfigurationError

ROWS = 40
PROSE = [f"The {n}th text is about something that somebody may look for." for n in range(ROWS)]
KEYS = [f"key-{n}" for n in range(ROWS)]


def survey(folder: Path, **columns: object) -> CorpusSurvey:
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return survey_corpus([str(folder)])


def guessed(survey: CorpusSurvey) -> tuple[str | None, str | None]:
    """The names of the id's and the text's column."""
    text = guess_text(survey)
    if text is None:
        return None, None
    identity = guess_id(survey, text=text.column)
    return None if identity is None else identity.column.name, text.column.name


def column(survey: CorpusSurvey, name: str) -> SurveyedColumn:
    return next(column for column in survey.columns if column.name == name)


def test_a_column_is_measured_by_its_first_rows(tmp_path: Path) -> None:
    seen = column(survey(tmp_path, t=[None, " ", "ü", "one two", "one two"]), "t")

    assert seen == SurveyedColumn(
        name="t",
        type="string",
        is_text=True,
        is_integer=False,
        num_rows=5,
        num_empty=2,
        num_distinct=2,
        mean_bytes=16 / 3,
        long_bytes=7,
        has_spaces=True,
        has_other_scripts=True,
        unfit_as_id="is null or empty in 2 rows",
        not_carried="",
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        pytest.param({"id": KEYS, "text": PROSE}, ("id", "text"), id="our own names"),
        pytest.param({"ID": KEYS, "Body": PROSE}, ("ID", "Body"), id="capitals"),
        pytest.param(
            {"title": PROSE, "body": [8 * text for text in PROSE], "url": KEYS},
            ("url", "body"),
            id="a title beside the body",
        ),
        pytest.param(
            {"summary": PROSE, "raw": [8 * text for text in PROSE], "id": KEYS},
            ("id", "raw"),
            id="a summary beside something much longer",
        ),
        pytest.param(
            {"ticket_id": list(range(ROWS)), "priority": list(range(ROWS)), "notes": PROSE},
            ("ticket_id", "notes"),
            id="an id by its ending",
        ),
        pytest.param(
            {"id": [0] * ROWS, "ref": KEYS, "text": PROSE}, ("ref", "text"), id="the id repeats"
        ),
        pytest.param(
            {"id": [None, *KEYS[1:]], "text": PROSE}, ("id", "text"), id="the id has one null"
        ),
        pytest.param({"id": [0.5 * n for n in range(ROWS)], "text": PROSE}, (None, "text"),
                     id="the id is a float"),
        pytest.param({"text": PROSE, "title": PROSE}, (None, "text"), id="only prose"),
        pytest.param(
            {"text": PROSE, "__index_level_0__": list(range(ROWS))},
            (None, "text"),
            id="pandas numbers its rows",
        ),
        pytest.param(
            {"text": PROSE, "__index_level_0__": KEYS},
            ("__index_level_0__", "text"),
            id="pandas has an index without a name",
        ),
        pytest.param(
            {"text": PROSE, "latitude": [f"{n}.5" for n in range(ROWS)]},
            (None, "text"),
            id="what is measured is no id",
        ),
        pytest.param(
            {"id": KEYS, "内容": ["如何重置我的密码以及登录账户的详细步骤说明"] * ROWS},
            ("id", "内容"),
            id="prose without white space",
        ),
        pytest.param({"id": KEYS, "n": list(range(ROWS))}, (None, None), id="no text"),
        pytest.param({"email": [f"somebody-{n}@mail.example.org" for n in range(ROWS)]},
                     (None, None), id="addresses are no prose"),
        pytest.param({"text": [None] * ROWS, "id": KEYS}, (None, None), id="an empty text"),
        pytest.param({"": PROSE, "id": KEYS}, (None, None), id="a column without a name"),
    ],
)  # fmt: skip
def test_id_and_text_are_guessed(
    tmp_path: Path, columns: dict[str, object], expected: tuple[str | None, str | None]
) -> None:
    assert guessed(survey(tmp_path, **columns)) == expected


def test_ids_that_every_file_counts_from_0_are_found_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        table = pa.table({"id": list(range(ROWS)), "text": PROSE})
        pq.write_table(table, tmp_path / f"{name}.parquet")

    looked = survey_corpus([str(tmp_path)])

    assert (looked.num_files, looked.num_rows, looked.num_rows_seen) == (2, 80, 80)
    assert column(looked, "id").unfit_as_id == "repeats itself in 40 rows"
    assert guessed(looked) == (None, "text")


def test_only_columns_of_all_files_are_looked_at(tmp_path: Path) -> None:
    text = pa.array(PROSE)
    pq.write_table(pa.table({"id": KEYS, "text": text, "x": KEYS}), tmp_path / "a.parquet")
    large = text.cast(pa.large_string()).dictionary_encode()
    pq.write_table(pa.table({"text": large, "id": KEYS}), tmp_path / "b.parquet")

    assert [column.name for column in survey_corpus([str(tmp_path)]).columns] == ["id", "text"]


def test_only_the_beginning_of_a_large_file_is_read(tmp_path: Path) -> None:
    looked = survey(tmp_path, id=list(range(5000)), text=["some text"] * 5000)

    assert (looked.num_rows, looked.num_rows_seen) == (5000, 1000)


def test_columns_that_cannot_be_carried_are_left_with_the_reason(tmp_path: Path) -> None:
    looked = survey(
        tmp_path,
        id=KEYS,
        body=PROSE,
        product=["cloud"] * ROWS,
        at=[datetime(2026, 1, 2, tzinfo=UTC)] * ROWS,
        source=KEYS,
        score=[float("nan")] * ROWS,
        tags=[["a"]] * ROWS,
        empty=pa.array([None] * ROWS, pa.string()),
        two_words=PROSE,
        **{"two words": KEYS, "long": [10 * text for text in PROSE]},
    )
    others = [column(looked, "id"), column(looked, "body")]
    carried, left = guess_carried(looked, others=others)

    assert [column.name for column in carried] == ["product", "at", "two_words"]
    assert {guess.column.name: guess.reason for guess in left} == {
        "source": "'source', a field that every collection has; carry it under another name:"
        " 'source as other_name'.",
        "score": "The column 'score' is NaN or infinite.",
        "tags": "It has parts; carry it if hits shall show it.",
        "empty": "It is empty.",
        "two words": "'two words'; Milvus takes letters, digits, underscores; carry it under"
        " another name: 'two words as two_words'.",
        "long": "Its texts are long for a filter (598 bytes on average, 95% within 600).",
    }


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("id,text\n")

    with pytest.raises(ConfigurationError, match="is not a readable Parquet file"):
        survey_corpus([str(tmp_path)])
