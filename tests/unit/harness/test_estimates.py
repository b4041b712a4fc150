"""Estimates: medians of pairs, intervals that hold what they should."""

from __future__ import annotations

import numpy as np
import pytest

from bench.harness.estimates import (
    mean,
    mean_difference,
    median_ratio,
    resampled_halves,
    spread,
    sum_ratio,
)


def test_a_spread_is_median_and_quantiles() -> None:
    value = spread([float(x) for x in range(11)])
    assert (value.p50, value.p20, value.p80, value.n) == (5.0, 2.0, 8.0, 11)


def test_a_ratio_of_proportional_pairs_is_exact_whatever_they_drift() -> None:
    before = [1.0, 5.0, 2.0, 9.0]
    value = median_ratio([0.9 * x for x in before], before)
    assert value.p50 == pytest.approx(0.9)
    assert value.low95 == pytest.approx(0.9)
    assert value.high95 == pytest.approx(0.9)


def test_a_ratio_is_the_second_by_the_first_pair_by_pair() -> None:
    value = median_ratio([2.0, 3.0, 40.0], [1.0, 1.0, 10.0])
    assert value.p50 == 3.0
    assert (value.low95, value.high95) == (2.0, 4.0)


def test_a_ratio_of_sums_weighs_the_large_cases_and_holds_the_truth() -> None:
    value = sum_ratio([1.0, 30.0], [1.0, 10.0])
    assert value.p50 == pytest.approx(31 / 11)
    assert (value.low95, value.high95) == (1.0, 3.0)
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        below = rng.integers(5, 50, 100)
        value = sum_ratio(rng.binomial(below, 0.3).tolist(), below.tolist())
        assert value.low95 is not None
        assert value.high95 is not None
        held += value.low95 <= 0.3 <= value.high95
    assert held >= 88


def test_a_mean_difference_holds_the_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        before = rng.random(200) < 0.5
        after = np.where(rng.random(200) < 0.2, rng.random(200) < 0.8, before)
        value = mean_difference(after.tolist(), before.tolist())
        assert value.low95 is not None
        assert value.high95 is not None
        held += value.low95 <= 0.2 * (0.8 - 0.5) <= value.high95
    assert 0.92 <= held / 400 <= 0.98


def test_a_mean_is_the_share_of_right_answers() -> None:
    assert mean([True, True, False, True]).p50 == 0.75


def test_halves_of_one_sample_have_the_interval_of_their_overlap() -> None:
    """Over many samples, the interval of the mean error of a model holds the true one."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        sample = rng.random(200) < 0.3
        splits = [rng.permutation(200) for _ in range(8)]
        # A model that predicts the majority of its half is tested on the other.
        values = [
            float((sample[order[100:]] != (sample[order[:100]].mean() > 0.5)).mean())
            for order in splits
        ]
        estimate = resampled_halves(values)
        assert estimate.low95 is not None
        assert estimate.high95 is not None
        assert estimate.low95 < estimate.p50 < estimate.high95
        held += estimate.low95 <= 0.3 <= estimate.high95
    assert held / 200 > 0.9
