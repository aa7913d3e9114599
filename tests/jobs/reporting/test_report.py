"""`report`: what is known of a collection, on one page that needs nothing else."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from job_fixtures import JobFolder

from embed_index.pipeline.evaluation.measures import NDCG
from embed_index.pipeline.evaluation.quality import Measured, Quality, WorstQuery
from embed_index.pipeline.evaluation.statistics import Estimate
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.lite import LiteServer

HOSTILE = (
    'Before <script>alert(1)</script> </script><!-- "q" \u2028 <img src=x onerror=alert(2)> end'
)
CORPUS: dict[str, str | None] = {
    **{f"d{n}": f"Text number {n} speaks of pumps. " * 9 for n in range(30)},
    "hostile": HOSTILE,
    "arabic": "هذا نص من اليمين إلى اليسار.",
    "emoji": "👩‍👩‍👧‍👦 and 🏳️‍🌈 " * 40,
    "chinese": "這是一個很長的中文文件。" * 60,
    "<b>null</b>": None,
}


PREDICTION = {
    "model": "m",
    "precision": "bfloat16",
    "host": "h",
    "device": "cpu",
    "num_devices": 1,
    "basis": "own runs",
    "num_past_runs": 3,
    "num_chunks": 9,
    "num_tokens": 900,
    "sum_of_squares": 90_000,
    "curve_seconds": 1.0,
    "expected_start_seconds": 10.0,
    "expected_embedding_seconds": 80.0,
    "expected_total_seconds": 100.0,
    "start_seconds": 10.0,
    "embedding_seconds": 90.0,
    "total_seconds": 110.0,
}


class Outline(HTMLParser):
    """Elements, ids, headings and what is fetched."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "srcset", "data") and value:
                self.fetched.append(value)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def reported(lite_job: JobFolder) -> JobFolder:
    """A job with one run behind it."""
    lite_job.write(CORPUS)
    lite_job.run("--carry", "topic", "--max-dead-letters", "5")
    return lite_job


def report(job: JobFolder, *more: str, expect: int = 0) -> Result:
    return job.on_collection("report", "-o", str(job.folder / "r.html"), *more, expect=expect)


def page_of(job: JobFolder, *more: str) -> str:
    report(job, *more)
    return (job.folder / "r.html").read_text(encoding="utf-8")


def map_data(page: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="map-data">(.*?)</script>', page)
    data: dict[str, Any] = json.loads(found)
    return data


def test_a_report_tells_outcome_changes_letters_lengths_storage_and_the_map(
    reported: JobFolder,
) -> None:
    page = page_of(reported)

    outline = Outline(page)
    sections = ["changes", "letters", "pace", "runs", "map", "lengths", "storage", "contract"]
    assert [name for name in outline.ids if name in sections] == sections
    assert "34 new in 35 documents read" in page
    assert "1 dead letter: null text" in page
    assert "Last brought in step with its corpus on" in page
    assert page.count("<svg") == 4  # Pace and lengths, for wide and for narrow screens.


def test_what_documents_say_stays_text_in_markup_and_in_data(reported: JobFolder) -> None:
    page = page_of(reported)

    data = map_data(page)
    told = dict(zip(data["id"], data["text"], strict=True))
    assert told["hostile"] == " ".join(HOSTILE.split())
    assert told["arabic"] == CORPUS["arabic"]
    assert Outline(page).tags.count("script") == 2
    assert "img" not in Outline(page).tags
    assert "&lt;b&gt;null&lt;/b&gt;" in page
    assert "\u2028" not in page


def test_the_page_asks_nothing_of_any_network_and_forbids_it(reported: JobFolder) -> None:
    page = page_of(reported)

    fetched = [place for place in Outline(page).fetched if not place.startswith("#")]
    assert fetched == ["data:,"]
    assert "default-src 'none'" in page
    assert re.findall(r"url\(|@import|https?://(?!www\.w3\.org/)", page) == []


def test_without_texts_nothing_of_the_documents_is_told(reported: JobFolder) -> None:
    page = page_of(reported, "--no-texts")

    for said in ("speaks of pumps", "hostile", "d17", "null&lt;/b&gt;", "a.parquet", "alert"):
        assert said not in page, said
    assert "null_text" in page
    data = map_data(page)
    assert len(data["x"]) == len(data["tokens"]) > 30
    assert set(data["text"]) == set(data["id"]) == {""}


def test_a_column_colours_the_map_and_an_unknown_one_is_refused(reported: JobFolder) -> None:
    data = map_data(page_of(reported, "--color-by", "topic"))
    refused = report(reported, "--color-by", "colour", expect=2)

    assert data["column"] == "topic"
    assert len(data["groups"]) == 9
    assert data["groups"][-1] == ["other values", "rest"]
    assert "topic" in refused.stderr


def test_a_sample_is_about_as_large_as_asked_for_and_the_same_each_time(
    reported: JobFolder,
) -> None:
    first, second = (map_data(page_of(reported, "--chunks", "20")) for _ in range(2))

    assert first == second
    assert 5 <= len(first["x"]) <= 40


def test_a_milvus_that_stays_away_costs_only_the_map(reported: JobFolder) -> None:
    server = LiteServer(Path(reported.uri))
    try:
        page = page_of(reported)
    finally:
        server.close()

    assert "No map this time" in page
    assert "34 new in 35 documents read" in page
    assert 'id="map-data"' not in page


def test_a_failed_run_stands_at_the_top_with_its_error(reported: JobFolder) -> None:
    reported.write({"new": "New."}, file="b.parquet")
    reported.run("--carry", "topic", "--server-url", "http://127.0.0.1:1", expect=4)

    page = page_of(reported)

    assert '<span class="pill bad">Failed</span>' in page
    assert "Last brought in step with its corpus on" in page
    assert "http://127.0.0.1:1" in page
    assert "http://127.0.0.1:1" not in page_of(reported, "--no-texts")


def test_evaluations_are_told_over_the_versions_and_others_are_not_mixed_in(
    reported: JobFolder,
) -> None:
    with Ledger(reported.ledger) as ledger:
        for version, fingerprint, ndcg in (
            ("docs_v1", "same", 0.5),
            ("docs_v2", "other", 0.9),
            ("docs_v3", "same", 0.6),
        ):
            found = quality(fingerprint, ndcg=ndcg)
            ledger.figures.record("quality", version=version, content=found.to_json())

    page = page_of(reported)

    assert "nDCG@10 is 0.600, 0.100 above that of docs_v1" in page
    assert "The worst 1 query; 1 found nothing that answers" in page
    assert "lost question" in page
    assert "lost question" not in page_of(reported, "--no-texts")
    assert "docs_v2" not in page


def test_what_a_run_was_expected_to_take_stands_beside_what_it_took(reported: JobFolder) -> None:
    (run,) = reported.history()
    with Ledger(reported.ledger) as ledger:
        kept = ledger.figures.of_run(run["id"], kind="prediction")
        told = PREDICTION if kept is None else json.loads(kept.content) | PREDICTION
        ledger.figures.record(
            "prediction", version=run["version"], content=json.dumps(told), run_id=run["id"]
        )

    page = page_of(reported).replace("\u00a0", " ")

    assert "The last run that embedded took 1 min 50 s, 10 % longer than expected" in page


def quality(fingerprint: str, *, ndcg: float) -> Quality:
    found = Estimate(mean=ndcg, low=ndcg - 0.1, high=ndcg + 0.1)
    lost = WorstQuery(query_id="q", text="lost question", ndcg=0.0, expected=("d1",), found=())
    return Quality(
        source="queries",
        fingerprint=fingerprint,
        collection_id="id",
        num_queries=9,
        measured=(Measured(mode="dense", dimension=64, exact=False, values={NDCG: found}),),
        worst=(lost,),
    )


def test_there_is_no_report_without_a_ledger(lite_job: JobFolder) -> None:
    refused = report(lite_job, expect=2)

    assert "has left a ledger" in refused.stderr
    assert not (lite_job.folder / "r.html").exists()
