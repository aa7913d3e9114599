"""How sure one can be of a mean over queries, and of the difference between two rankings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEED = 20_240_229
CONFIDENCE = 0.95
_NUM_RESAMPLES = 2_000
_NUM_PERMUTATIONS = 9_999
_NUMBERS_PER_STEP = 2_000_000
_SAME = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over queries, with its interval of 95 % confidence."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What one ranking does better than another, query by query."""

    wins: int
    losses: int
    ties: int
    difference: Estimate
    """The mean of first minus second."""
    p_value: float
    """Of a paired randomisation test on the mean, two-sided: how likely chance alone makes as much
    of a difference."""


def estimate(values: NDArray[np.float64], *, seed: int = SEED) -> Estimate:
    """Return a mean with the interval that resampled queries give it (percentile bootstrap)."""
    mean = float(values.mean())
    if len(values) == 1 or np.ptp(values) == 0:
        return Estimate(mean=mean, low=mean, high=mean)
    rng = np.random.default_rng(seed)
    step = max(1, _NUMBERS_PER_STEP // len(values))
    means = np.concatenate(
        [
            values[
                rng.integers(len(values), size=(min(step, _NUM_RESAMPLES - first), len(values)))
            ].mean(axis=1)
            for first in range(0, _NUM_RESAMPLES, step)
        ]
    )
    rest = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (rest, 1 - rest))
    return Estimate(mean=mean, low=float(low), high=float(high))


def compare(first: NDArray[np.float64], second: NDArray[np.float64], *, seed: int = SEED) -> Paired:
    """Compare two rankings by a value of each query."""
    differences = first - second
    differences[np.abs(differences) < _SAME] = 0.0
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return Paired(
        wins=wins,
        losses=losses,
        ties=len(differences) - wins - losses,
        difference=estimate(differences, seed=seed),
        p_value=_p_value(differences, seed=seed) if wins or losses else 1.0,
    )


def _p_value(differences: NDArray[np.float64], *, seed: int) -> float:
    from scipy.stats import permutation_test

    found = permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_NUM_PERMUTATIONS,
        batch=max(1, _NUMBERS_PER_STEP // len(differences)),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)
