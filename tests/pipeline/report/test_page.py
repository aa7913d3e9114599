"""The page: what it says of which contents, its size, and the arithmetic behind it."""

import json
import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import HOSTILE, NOW, contents, judged, reported_run, with_map

from embed_index.pipeline.report import words
from embed_index.pipeline.report.contents import (
    ReportContents,
    ReportedPrediction,
    ReportedQuality,
    ReportedQuery,
)
from embed_index.pipeline.report.map import MappedChunk, choose_column, draw_map, excerpt
from embed_index.pipeline.report.page import render_report
from embed_index.pipeline.report.projection import project
from embed_index.schemas.records import CarriedValue
from embed_index.schemas.summary import RunCounters

EMPTY = ReportContents(
    collection="docs",
    version="",
    made_at=NOW,
    runs=(),
    last_success=None,
    num_documents=0,
    num_chunks=0,
    num_pending=0,
    pace=None,
    pace_run=None,
    letters=(),
    stored=(),
)


def titles(made: ReportContents) -> dict[str, str]:
    """What each section of the page finds."""
    found = re.findall(r'<h2 id="(\w+)-title">(.*?)</h2>', render_report(made))
    return {name: title.replace("\u00a0", " ") for name, title in found}


def test_sections_say_what_they_find() -> None:
    assert titles(with_map(40)) == {
        "changes": "300 new and 30 changed in 50,000 documents read",
        "history": "Each of the last 30 runs found something to embed",
        "letters": "7 dead letters: null text",
        "pace": "4 k tokens/s; the servers had work 90 % of the time",
        "runs": "4 k tokens/s in the last run that embedded, as usual",
        "map": "40 of 400 chunks, coloured by kind",
        "lengths": "Half of the chunks have 257 tokens or fewer; 2.1 % are as long as they may be",
        "storage": "1 GB in Milvus and 1 MB on this host&#39;s disk",
        "contract": "docs_v1 was made with a/model",
    }


def test_what_there_is_no_figure_for_is_not_drawn() -> None:
    assert titles(EMPTY) == {}
    quiet = reported_run(
        1, counters=RunCounters(num_documents_read=9, num_unchanged=9, seconds=1.4)
    )
    assert titles(replace(EMPTY, runs=(quiet,))) == {
        "changes": "Nothing new in 9 documents",
        "runs": "No run has embedded anything yet",
    }
    assert "The only run" in render_report(replace(EMPTY, runs=(quiet,)))
    assert "The last 30 runs" in render_report(contents())


@pytest.mark.parametrize(
    ("outcome", "word", "tone"),
    [
        ("done", "Done", "good"),
        ("failed", "Failed", "bad"),
        ("died", "Died", "bad"),
        ("dead_letters", "Too many dead letters", "warn"),
        ("interrupted", "Interrupted", "warn"),
        ("running", "Running", "plain"),
    ],
)
def test_the_last_outcome_stands_at_the_top(outcome: str, word: str, tone: str) -> None:
    page = render_report(contents(runs=(reported_run(30, outcome=outcome),)))

    assert f'<span class="pill {tone}">{word}</span>' in page
    assert f"<title>docs: {word.lower()}</title>" in page


@pytest.mark.parametrize(
    "text",
    ["Chunk {} " + 90 * "speaks. ", "這是很長的文件{}。" * 90, "👩‍👩‍👧‍👦{} <" * 90, "<\x01" * 400],
)
def test_ten_thousand_chunks_make_less_than_three_megabytes(text: str) -> None:
    page = render_report(with_map(10_000, text=text))

    assert len(page.encode()) < 3_000_000
    assert len(json.loads(re.findall(r'id="map-data">(.*?)</script>', page)[0])["x"]) == 10_000


@pytest.mark.parametrize(
    ("found", "title"),
    [
        ((judged(1, 0.7),), "nDCG@10 is 0.700"),
        ((judged(2, 0.75), judged(1, 0.7)), "nDCG@10 is 0.750, 0.050 above that of docs_v1"),
        ((judged(2, 0.702), judged(1, 0.7)), "nDCG@10 is 0.702, as with docs_v1"),
        (
            (judged(2, 0.6, is_held=True), judged(1, 0.7)),
            "docs_v2 did not go live: nDCG@10 is 0.600, 0.100 below that of docs_v1",
        ),
    ],
)
def test_quality_is_compared_with_the_version_before(
    found: tuple[ReportedQuality, ...], title: str
) -> None:
    made = replace(EMPTY, quality=found, quality_facts={"hit@10": "0.9"})

    assert titles(made) == {"quality": title}
    assert render_report(made).count("<svg") == (2 if len(found) > 1 else 0)


def test_worst_queries_are_shown_as_text() -> None:
    lost = ReportedQuery(text=HOSTILE, ndcg=0.0, expected=("a", "b", "c", "d"), found=())
    made = replace(EMPTY, worst=(lost, replace(lost, ndcg=0.3)))

    page = render_report(made)

    assert titles(made) == {"queries": "The worst 2 queries; 1 found nothing that answers"}
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "a, b, c</span> and 1 more" in page


@pytest.mark.parametrize(
    ("taken", "title"),
    [
        (110.0, "The last run that embedded took 1 min 50 s, 10 % longer than expected"),
        (95.0, "The last run that embedded took 1 min 35 s, 5.0 % shorter than expected"),
        (100.0, "The last run that embedded took 1 min 40 s, as expected"),
    ],
)
def test_what_a_run_took_is_compared_with_what_was_expected(taken: float, title: str) -> None:
    told = ReportedPrediction(at=NOW, expected_seconds=100.0, taken_seconds=taken)
    made = replace(EMPTY, predictions=(told, replace(told, at=NOW - timedelta(days=1))))

    assert titles(made) == {"prediction": title}
    assert titles(replace(EMPTY, predictions=(replace(told, expected_seconds=0.0),))) == {}


def test_excerpts_are_cut_at_characters_and_on_one_line() -> None:
    assert excerpt(" a\n\n b\tc ") == "a b c"
    cut = excerpt("é" * 1000)
    assert len(cut.encode()) <= 600
    assert set(cut) == {"é", "…"}


@given(
    values=st.lists(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
        max_size=60,
    )
)
def test_every_chunk_is_in_one_group_and_groups_count_them(values: list[CarriedValue]) -> None:
    chunks = [
        MappedChunk(doc_id="d", chunk_index=0, num_chunks=1, num_tokens=1, text="", value=value)
        for value in values
    ]
    vectors = np.random.default_rng(0).standard_normal((len(values), 4)).astype(np.float32)

    drawn = draw_map(chunks, vectors, column="kind", num_rows=len(values))

    counted = [drawn.group_of.count(place) for place in range(len(drawn.groups))]
    assert counted == [group.num_chunks for group in drawn.groups]
    assert sum(counted) == len(values)
    assert len(drawn.groups) <= 10


def test_numbers_are_grouped_on_a_scale() -> None:
    chunks = [
        MappedChunk(doc_id="d", chunk_index=0, num_chunks=1, num_tokens=1, text="", value=year)
        for year in range(2000, 2020)
    ]

    drawn = draw_map(chunks, np.eye(20, dtype=np.float32), column="year", num_rows=20)

    assert [group.colour for group in drawn.groups] == ["s1", "s2", "s3", "s4", "s5"]
    assert [group.num_chunks for group in drawn.groups] == [4, 4, 4, 4, 4]
    assert drawn.groups[0].name.startswith("to ")


def test_the_column_that_colours_by_itself_has_a_few_values() -> None:
    columns: dict[str, list[CarriedValue]] = {
        "same": ["a"] * 9,
        "id": [str(n) for n in range(9)],
        "kind": ["a", "b", "a", "b", "a", "b", None, "a", "b"],
    }

    assert choose_column(columns) == "kind"
    assert choose_column({"same": ["a"] * 9}) == ""


@pytest.mark.parametrize("shape", [(0, 8), (1, 8), (2, 8), (50, 1), (300, 64)])
def test_a_projection_is_that_of_a_full_decomposition(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    vectors = (rng.standard_normal(shape) * np.linspace(3, 0.1, shape[1])).astype(np.float32)

    found = project(vectors)

    assert found.places.shape == (shape[0], 2)
    if shape[0] > 1:
        _, spread, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
        kept = (spread[:2] ** 2).sum() / (spread**2).sum()
        assert found.kept_share == pytest.approx(kept, rel=1e-3)
        assert np.linalg.norm(found.places[:, 0]) == pytest.approx(spread[0], rel=1e-3)
        np.testing.assert_array_equal(project(vectors).places, found.places)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.count(12345), "12,345"),
        (words.short(999.6), "1 k"),
        (words.short(41_234), "41.2 k"),
        (words.short(999_600), "1 M"),
        (words.short(0.25), "0.25"),
        (words.figure(999_499), "999,499"),
        (words.size(1_250_000_000), "1.25 GB"),
        (words.size(12), "12 B"),
        (words.share(0.9999), "over 99.9 %"),
        (words.share(0.00001), "under 0.1 %"),
        (words.share(0.0), "0 %"),
        (words.span(0.25), "0.25 s"),
        (words.span(59.6), "1 min"),
        (words.span(7500), "2 h 5 min"),
        (words.span(90_000), "1 d 1 h"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written.replace("\u00a0", " ") == expected
