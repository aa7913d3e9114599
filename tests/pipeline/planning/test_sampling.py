"""A sample of a skewed corpus says what it knows, and how well."""

import math
import random
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from embed_index.pipeline.planning.sampling import (
    DocumentSample,
    Estimate,
    SampleResult,
    SampleSize,
)
from embed_index.pipeline.stages.look import Keys

DRAWS = range(20)


@dataclass(frozen=True, kw_only=True)
class Population:
    """Documents whose sizes differ by a factor of a million, in four scripts and some noise."""

    num_bytes: NDArray[np.int64]
    tokens: NDArray[np.float64]
    chunks: NDArray[np.float64]

    def keys(self, seed: int) -> Keys:
        return np.random.default_rng(seed).integers(0, 2**64, self.num_bytes.size, dtype=np.uint64)

    def draw(self, size: SampleSize, *, seed: int) -> SampleResult:
        sample = DocumentSample(size)
        keys = self.keys(seed)
        for start in range(0, self.num_bytes.size, 2048):
            batch = slice(start, start + 2048)
            chosen = sample.choose(keys[batch], self.num_bytes[batch])
            figures = np.column_stack([self.tokens[batch], self.chunks[batch]])
            sample.add(figures[chosen])
        return sample.result()


@pytest.fixture(scope="module")
def skewed() -> Population:
    drawn = np.random.default_rng(7)
    num_bytes = np.clip(drawn.lognormal(6.5, 2.0, 60_000), 3, 40e6).astype(np.int64)
    # English, Chinese, code and base64, sorted by kind, as exports are; each varies by itself.
    per_byte = np.repeat([0.22, 0.30, 0.38, 0.75], [40_000, 12_000, 7_400, 600])
    tokens = np.ceil(num_bytes * per_byte * drawn.lognormal(0, 0.15, num_bytes.size))
    return Population(num_bytes=num_bytes, tokens=tokens, chunks=np.ceil(tokens / 1000))


def test_one_percent_of_a_skewed_corpus_is_within_its_stated_error(skewed: Population) -> None:
    weights = {"tokens": np.array([1.0, 0.0]), "chunks": np.array([0.0, 1.0])}
    truths = {"tokens": skewed.tokens.sum(), "chunks": skewed.chunks.sum()}
    within, widths = [], []
    for seed in DRAWS:
        result = skewed.draw(SampleSize(share=0.01), seed=seed)
        for name, truth in truths.items():
            estimate = result.total(weights=weights[name])
            within.append(abs(estimate.value - truth) <= estimate.error)
            widths.append(estimate.error / truth)

    assert within == [True] * (2 * len(DRAWS))
    # An error that says nothing would always do.
    assert max(widths) < 0.15


@pytest.fixture(scope="module")
def many_draws(skewed: Population) -> list[Estimate]:
    drawn = (skewed.draw(SampleSize(share=0.01), seed=1000 + seed) for seed in range(200))
    return [result.total(weights=np.array([1.0, 0.0])) for result in drawn]


def test_the_error_covers_the_truth_about_as_often_as_it_says(
    skewed: Population, many_draws: list[Estimate]
) -> None:
    truth = skewed.tokens.sum()

    assert sum(abs(draw.value - truth) <= draw.error for draw in many_draws) >= 195


def test_a_sample_does_not_lean_to_one_side(skewed: Population, many_draws: list[Estimate]) -> None:
    errors = np.array([draw.value for draw in many_draws]) / skewed.tokens.sum() - 1

    assert abs(errors.mean()) < 3 * errors.std() / math.sqrt(errors.size)


def test_all_of_a_corpus_is_known_without_an_error(skewed: Population) -> None:
    result = skewed.draw(SampleSize(share=1.0), seed=0)

    estimate = result.total(weights=np.array([1.0, 0.0]))
    assert (estimate.value, estimate.error) == (skewed.tokens.sum(), 0.0)


def test_a_count_is_drawn_of_all_beside_what_the_sizes_need(skewed: Population) -> None:
    small, large = (skewed.draw(SampleSize(num_documents=count), seed=3) for count in (1, 20_000))

    assert 20_000 <= large.num_documents < 20_000 + small.num_documents
    assert (
        large.total(weights=np.array([1.0, 0.0])).error
        < small.total(weights=np.array([1.0, 0.0])).error
    )


def test_the_order_of_documents_does_not_count() -> None:
    numbers = list(range(5000))
    random.Random(1).shuffle(numbers)
    order = np.array(numbers)
    sizes = np.random.default_rng(2).integers(1, 100_000, 5000)
    keys = np.random.default_rng(3).integers(0, 2**64, 5000, dtype=np.uint64)
    chosen = []
    for places in (np.arange(5000), order):
        sample = DocumentSample(SampleSize(num_documents=400))
        taken = sample.choose(keys[places], sizes[places])
        sample.add(places[taken].astype(np.float64)[:, None])
        chosen.append(set(sample.result().figures[:, 0].tolist()))

    assert chosen[0] == chosen[1]


def test_many_documents_of_one_size_leave_no_error_but_that_of_the_unknown() -> None:
    sample = DocumentSample(SampleSize(share=0.01))
    keys = np.random.default_rng(4).integers(0, 2**64, 100_000, dtype=np.uint64)
    chosen = sample.choose(keys, np.full(100_000, 700))
    sample.add(np.ones((len(chosen), 1)))

    estimate = sample.result().total(weights=np.ones(1))

    assert estimate.value == pytest.approx(100_000)
    assert 0 < estimate.error < 100


def test_a_night_without_work_is_nothing() -> None:
    sample = DocumentSample(SampleSize(share=0.01))
    sample.choose(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64))

    assert sample.result().num_documents == 0
    assert sample.result().total(weights=np.ones(3)).value == 0
