"""The choice of what climbs, against counts by hand and by brute force."""

from itertools import combinations

import numpy as np
import pytest

from bench.real.shares.choices import compare


def test_four_questions_by_hand() -> None:
    small = np.array([True, False, True, False])
    large = np.array([True, True, False, True])
    choice = compare(
        climbed_N=np.array([False, True, True, False]),
        rank_N=np.array([0.9, 0.2, 0.8, 0.1]),
        small_right_N=small,
        large_right_N=large,
    )
    assert choice.served == 0.5  # 0 stays right, 1 becomes right, 2 becomes wrong, 3 stays wrong
    assert choice.threshold == 1.0  # 1 and 3 climb
    assert choice.random == pytest.approx(0.5 * 0.5 + 0.5 * 0.75)
    assert choice.of_the_way == pytest.approx((0.5 - 0.625) / (1.0 - 0.625))


def test_chance_is_the_mean_over_all_choices() -> None:
    rng = np.random.default_rng(1)
    small, large, rank = rng.random(8) < 0.4, rng.random(8) < 0.8, rng.random(8)
    served = []
    for chosen in combinations(range(8), 3):
        climbed = np.isin(np.arange(8), chosen)
        served.append(compare(climbed, rank, small, large).served)
    assert compare(climbed, rank, small, large).random == pytest.approx(np.mean(served))


def test_what_climbed_by_threshold_reaches_it() -> None:
    rng = np.random.default_rng(2)
    small, large, rank = rng.random(60) < 0.4, rng.random(60) < 0.8, rng.random(60)
    choice = compare(rank < 0.35, rank, small, large)
    assert choice.served == choice.threshold
    assert choice.of_the_way == pytest.approx(1.0)


def test_nothing_that_climbs_is_the_small_model_alone() -> None:
    small, large = np.array([True, False]), np.array([True, True])
    choice = compare(np.zeros(2, dtype=bool), np.array([0.1, 0.2]), small, large)
    assert (choice.served, choice.threshold, choice.random) == (0.5, 0.5, 0.5)
    assert np.isnan(choice.of_the_way)
