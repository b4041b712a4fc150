"""One rule for live answers, recorded ones, and thresholds on a grid."""

import numpy as np

from cascadia_sglang.acceptance import accepting_thresholds, accepts


def test_a_score_that_equals_the_threshold_accepts():
    assert accepts(0.5, 0.5)
    assert not accepts(np.nextafter(0.5, 0.0), 0.5)
    assert not accepts(float("nan"), 0.0)


def test_arrays_are_compared_element_by_element():
    score_N = np.array([0.2, 0.5, 0.8])
    assert accepts(score_N, 0.5).tolist() == [False, True, True]
    assert accepts(score_N, np.array([0.1, 0.6, 0.8])).tolist() == [True, False, True]


def test_the_thresholds_of_a_grid_that_accept_are_counted():
    rng = np.random.default_rng(0)
    grid, score_N = np.unique(rng.integers(0, 20, 12) / 20), rng.integers(0, 20, 200) / 20
    counted_N = [sum(accepts(score, threshold) for threshold in grid) for score in score_N]
    assert accepting_thresholds(grid, score_N).tolist() == counted_N
