"""The page that says whether fp8 is worth it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embed_index.jobs.precision.agreement import Cosines, Overlap
from embed_index.jobs.precision.comparison import Comparison, pack
from embed_index.jobs.precision.page import as_json, as_text
from embed_index.jobs.precision.sample import Sample

SAMPLE = Sample(
    chunks=tuple(np.zeros(100, dtype=np.int32) for _ in range(500)),
    num_documents=250,
    num_tokens=50_000,
    num_corpus_documents=36_000_000,
)
GOOD = Comparison(
    model="Qwen3-Embedding-4B",
    device="NVIDIA H100",
    dimension=1024,
    precisions=("bfloat16", "fp8"),
    tokens_per_second=(80_000.0, 120_000.0),
    sample=SAMPLE,
    num_queries=0,
    cosines=Cosines(smallest=0.991, one_percent=0.995, median=0.998),
    overlap=Overlap(mean=0.97, one_percent=0.8, same_first=0.99),
)


def recommended(comparison: Comparison) -> str:
    return as_text(comparison, price=None).splitlines()[-1]


def test_the_page_says_what_is_gained_in_hours_and_money() -> None:
    page = as_text(GOOD, price=2.0)

    assert "7,200,000,000 tokens: 25.00 GPU hours in bfloat16, 16.67 in fp8, 8.33 saved" in page
    assert "16.67 saved, at 2.00 an hour" in page
    assert "smallest 0.9910, 1 % 0.9950, median 0.9980 (fp8 to bfloat16)" in page
    assert "97.0% the same on average" in page
    assert len(page.splitlines()) == 9


def test_nothing_saved_has_no_sign_and_one_chunk_is_no_several() -> None:
    one = replace(SAMPLE, chunks=SAMPLE.chunks[:1], num_documents=1, num_corpus_documents=1)
    slower = (80_000.0, 79_000.0)

    page = as_text(replace(GOOD, sample=one, num_queries=1, tokens_per_second=slower), price=2.0)

    assert "sample        1 chunk of 1 document\n" in page
    assert "(1 query searching)" in page
    assert " 0.00 saved\n" in page
    assert " 0.00 saved, at 2.00 an hour" in page
    assert "-" not in page.split("whole corpus")[1].split("recommended")[0]


def test_fp8_is_recommended_where_it_is_faster_and_finds_the_same() -> None:
    assert "fp8: 1.50 times as fast" in recommended(GOOD)
    assert "--rebuild" in recommended(GOOD)


@pytest.mark.parametrize(
    ("worse", "reason"),
    [
        ({"tokens_per_second": (80_000.0, 84_000.0)}, "fp8 is 1.05 times as fast here"),
        ({"overlap": Overlap(mean=0.8, one_percent=0.3, same_first=0.9)}, "finds other things"),
        ({"cosines": Cosines(smallest=0.9, one_percent=0.97, median=0.99)}, "finds other things"),
    ],
    ids=["no faster", "other hits", "other directions"],
)
def test_bfloat16_is_recommended_elsewhere_with_the_reason(
    worse: dict[str, object], reason: str
) -> None:
    line = recommended(replace(GOOD, **worse))  # type: ignore[arg-type]

    assert "bfloat16:" in line
    assert reason in line


def test_programs_read_the_same() -> None:
    page = json.loads(as_json(GOOD, price=2.0))

    assert (page["speedup"], page["recommended"]) == (1.5, "fp8")
    assert page["gpu_hours"] == pytest.approx([25.0, 16.6667], rel=1e-4)
    assert page["money_saved"] == pytest.approx(16.6667, rel=1e-4)
    assert page["sample"] == {
        "num_chunks": 500,
        "num_documents": 250,
        "corpus_tokens": 7_200_000_000,
    }


def test_requests_hold_what_fits_and_an_input_that_does_not_goes_alone() -> None:
    inputs = [np.zeros(size, dtype=np.int32) for size in (60, 40, 1, 300, 10)]

    assert [[ids.size for ids in request] for request in pack(inputs, max_tokens=100)] == [
        [60, 40],
        [1],
        [300],
        [10],
    ]
