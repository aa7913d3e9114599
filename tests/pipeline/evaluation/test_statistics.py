"""Intervals and tests: repeatable, right where it is known what is right."""

import numpy as np
import pytest

from embed_index.pipeline.evaluation.statistics import compare, estimate


def test_an_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    samples = rng.beta(2, 1, size=(300, 60))
    held = [
        found.low <= 2 / 3 <= found.high
        for number, sample in enumerate(samples)
        for found in [estimate(sample, seed=number)]
    ]

    assert 0.90 <= sum(held) / len(held) <= 0.99


def test_an_interval_is_the_same_every_time() -> None:
    values = np.random.default_rng(0).random(50)

    assert estimate(values) == estimate(values)
    assert estimate(values).low < estimate(values).mean < estimate(values).high


@pytest.mark.parametrize("values", [[0.5], [1.0, 1.0, 1.0]])
def test_what_does_not_vary_has_no_width(values: list[float]) -> None:
    found = estimate(np.asarray(values))

    assert found.low == found.mean == found.high == values[0]


def test_wins_and_losses_are_counted_and_chance_is_told_from_change() -> None:
    rng = np.random.default_rng(1)
    base = rng.random(80)
    noise = rng.normal(0, 0.05, size=80)

    same = compare(base, base.copy())
    chance = compare(base, base + noise - noise.mean())
    change = compare(base + 0.1 + noise, base)

    assert (same.wins, same.losses, same.ties, same.p_value) == (0, 0, 80, 1.0)
    assert chance.p_value > 0.5
    assert change.p_value < 0.001
    assert change.wins > 70
    assert change.difference.low > 0.05


def test_few_queries_are_tested_exactly() -> None:
    """Of eight signs of three wins, two are as extreme: p is 2 in 8."""
    assert compare(np.asarray([0.9, 0.8, 0.7]), np.zeros(3)).p_value == pytest.approx(0.25)
