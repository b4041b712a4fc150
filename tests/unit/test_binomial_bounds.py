"""Bounds on rates against SciPy's exact test, and how many trials show something."""

import pytest
from scipy.stats import binomtest

from cascadia_sglang.binomial_bounds import MOST_TRIALS, least_trials, lower_bound, upper_bound


@pytest.mark.parametrize(("count", "trials"), [(0, 1), (1, 36), (50, 100), (14, 2442), (9, 9)])
def test_bounds_are_those_of_an_exact_test(count: int, trials: int) -> None:
    interval = binomtest(count, trials).proportion_ci(0.9, method="exact")
    assert lower_bound(count, trials, 0.05) == pytest.approx(interval.low)
    assert upper_bound(count, trials, 0.05) == pytest.approx(interval.high)


def test_a_rate_comes_nearer_with_every_trial() -> None:
    lows = [lower_bound(0.9 * trials, trials, 0.05) for trials in range(1, 400)]
    highs = [upper_bound(0.1 * trials, trials, 0.05) for trials in range(1, 400)]
    assert lows == sorted(lows)
    assert highs == sorted(highs, reverse=True)


@pytest.mark.parametrize("needed", [1, 2, 3, 100, 4096, 1_000_003])
def test_the_least_number_of_trials_is_found(needed: int) -> None:
    assert least_trials(lambda trials: trials >= needed) == needed


def test_what_nothing_shows_has_no_number() -> None:
    assert least_trials(lambda trials: trials > 2 * MOST_TRIALS) is None
    assert least_trials(lambda _: False) is None
