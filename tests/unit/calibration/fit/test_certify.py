"""The promises: bounds against independent forms, and how often they are broken."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from cascadia_sglang.binomial_bounds import lower_bound, upper_bound
from cascadia_sglang.calibration.fit.certify import certify, least_accepted, promises
from cascadia_sglang.calibration.fit.replay import ServedPool

CASES = [(0, 1), (0, 36), (1, 36), (7, 100), (50, 100), (99, 100), (14, 2442)]


def binomial_cdf(count: int, trials: int, rate: float) -> float:
    """P(at most `count` events), summed term by term."""
    return math.fsum(
        math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(count + 1)
    )


@pytest.mark.parametrize(("count", "trials"), CASES)
def test_upper_bound_is_where_the_tail_has_the_error(count: int, trials: int) -> None:
    rate = upper_bound(count, trials, 0.025)
    assert binomial_cdf(count, trials, rate) == pytest.approx(0.025, rel=1e-6)


@pytest.mark.parametrize(("count", "trials"), CASES[2:])
def test_lower_bound_is_where_the_other_tail_has_it(count: int, trials: int) -> None:
    rate = lower_bound(count, trials, 0.025)
    assert 1 - binomial_cdf(count - 1, trials, rate) == pytest.approx(0.025, rel=1e-6)


@pytest.mark.parametrize(("count", "trials"), CASES)
def test_both_bounds_are_those_of_a_two_sided_exact_test(count: int, trials: int) -> None:
    interval = binomtest(count, trials).proportion_ci(0.95, method="exact")
    assert upper_bound(count, trials, 0.025) == pytest.approx(interval.high)
    assert lower_bound(count, trials, 0.025) == pytest.approx(interval.low)


def test_nothing_but_events_bounds_nothing() -> None:
    assert upper_bound(5, 5, 0.05) == 1.0
    assert upper_bound(0, 0, 0.05) == 1.0
    assert lower_bound(0, 5, 0.05) == 0.0


@pytest.mark.parametrize("error", [0.05, 0.025, 0.01])
def test_a_promise_needs_just_as_many_answers_as_show_a_tenth(error: float) -> None:
    needed = least_accepted(error)
    assert upper_bound(0, needed, error) <= 0.1 < upper_bound(0, needed - 1, error)


def served(answered_by: list[int], right: list[bool], last_right: list[bool]) -> ServedPool:
    count = len(right)
    return ServedPool(
        score_NT=np.zeros((count, 2)),
        ended_NT=np.zeros((count, 2), dtype=bool),
        reached_NT=np.ones((count, 3), dtype=bool),
        answered_by_N=np.array(answered_by),
        right_N=np.array(right),
        last_right_N=np.array(last_right),
    )


def test_certificate_counts_what_each_tier_accepts_and_shares_the_error() -> None:
    made = certify(
        served(
            [0] * 100 + [1] * 50 + [2] * 10,
            [False] * 3 + [True] * 97 + [True] * 50 + [False] * 10,
            [True] * 150 + [False] * 10,
        )
    )
    first, second = made.risks
    assert (first.accepted, first.wrong, second.accepted, second.wrong) == (100, 3, 50, 0)
    assert first.risk_high == pytest.approx(upper_bound(3, 100, 0.025))
    assert second.risk_high == pytest.approx(1 - 0.025 ** (1 / 50))
    assert (made.loss.lost, made.loss.gained) == (3, 0)
    assert made.loss.loss_high == pytest.approx(upper_bound(3, 160, 0.025))


def test_a_tier_with_few_accepted_answers_promises_nothing() -> None:
    made = certify(served([0] * 35 + [1] * 36, [True] * 71, [True] * 71))
    assert made.risks[0].risk_high is None
    assert made.risks[1].risk_high is not None
    lines = promises(made, ("small", "middle", "large"))
    assert lines[0] == "small: no promise; 35 accepted answers, 36 needed"


def test_bounds_are_broken_no_more_often_than_they_say() -> None:
    """10,000 certificates of two tiers with known risks; 5 % may be broken, and some must be."""
    rng = np.random.default_rng(0)
    risks, counts = np.array([0.03, 0.08]), np.array([300, 80])
    wrong_R2 = rng.binomial(counts, risks, size=(10_000, 2))
    bound = [np.array([upper_bound(k, count, 0.025) for k in range(count + 1)]) for count in counts]
    broken_R2 = np.column_stack([bound[i][wrong_R2[:, i]] < risks[i] for i in range(2)])
    assert 0.005 < broken_R2.any(1).mean() < 0.05
