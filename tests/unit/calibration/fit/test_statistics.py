"""Metrics against their definitions."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from cascadia_sglang.calibration.fit.statistics import (
    accuracy_rejection_area,
    auroc,
    brier,
    ece,
    measure,
)


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    score_N = rng.random(400).round(2)  # with ties
    return score_N, rng.random(400) < score_N


def test_auroc_counts_pairs_and_half_of_ties(scored) -> None:
    score_N, right_N = scored
    gaps = score_N[right_N][:, None] - score_N[~right_N][None, :]
    assert auroc(score_N, right_N) == pytest.approx(np.mean((gaps > 0) + 0.5 * (gaps == 0)))
    assert auroc(score_N, right_N) == pytest.approx(roc_auc_score(right_N, score_N))


def test_auroc_of_one_kind_is_not_defined() -> None:
    assert np.isnan(auroc(np.ones(2), np.ones(2, dtype=bool)))


def test_brier_and_ece_of_known_cases(scored) -> None:
    score_N, right_N = scored
    assert brier(score_N, right_N) == pytest.approx(brier_score_loss(right_N, score_N))
    half_N = np.array([True, False] * 30)
    assert ece(np.full(60, 0.5), half_N) == pytest.approx(0.0)
    assert ece(np.full(60, 0.9), half_N) == pytest.approx(0.4)


def test_ece_sees_a_gap_that_the_mean_hides() -> None:
    """Half of the answers are surely right and half surely wrong; every score is the mean."""
    right_N = np.array([True] * 30 + [False] * 30)
    score_N = np.r_[np.full(30, 0.6), np.full(30, 0.4)]
    assert ece(score_N, right_N, bins=2) == pytest.approx(0.4)


def test_accuracy_rejection_area_is_the_mean_accuracy_of_the_best() -> None:
    score_N = np.array([0.9, 0.8, 0.3, 0.1])
    right_N = np.array([True, False, True, False])
    expected = np.mean([1, 1 / 2, 2 / 3, 2 / 4])
    assert accuracy_rejection_area(score_N, right_N) == pytest.approx(expected)


def test_accuracy_rejection_area_of_ties_is_the_mean_over_their_orders(scored) -> None:
    score_N, right_N = scored
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(300):
        order_N = np.lexsort((rng.random(len(score_N)), -score_N))
        areas.append(np.mean(np.cumsum(right_N[order_N]) / np.arange(1, len(score_N) + 1)))
    assert accuracy_rejection_area(score_N, right_N) == pytest.approx(np.mean(areas), abs=5e-4)


def test_intervals_hold_the_value_and_narrow_with_more_answers(scored) -> None:
    score_N, right_N = scored
    few, many = measure(score_N[:100], right_N[:100]), measure(score_N, right_N)
    for metric, interval in many.items():
        assert interval.low <= interval.high
        assert interval.high - interval.low < few[metric].high - few[metric].low
    assert many["auroc"].low < many["auroc"].value < many["auroc"].high


def test_no_answers_measure_nothing() -> None:
    nothing = measure(np.empty(0), np.empty(0, dtype=bool))
    assert all(np.isnan(interval.value) and interval.n == 0 for interval in nothing.values())


def test_a_weight_of_two_counts_an_answer_twice(scored) -> None:
    score_N, right_N = scored
    weight_N = np.where(np.arange(len(score_N)) < 150, 2.0, 1.0)
    repeated_N = np.append(np.arange(len(score_N)), np.arange(150))
    expected = auroc(score_N[repeated_N], right_N[repeated_N])
    assert auroc(score_N, right_N, weight_N) == pytest.approx(expected)
    for bins in (1, 7):
        error = ece(score_N, right_N, bins, weight_N)
        assert error == pytest.approx(ece(score_N[repeated_N], right_N[repeated_N], bins), abs=0.01)


def test_equal_weights_change_nothing(scored) -> None:
    score_N, right_N = scored
    weight_N = np.full(len(score_N), 3.0)
    assert auroc(score_N, right_N, weight_N) == pytest.approx(auroc(score_N, right_N))
    assert ece(score_N, right_N, 8, weight_N) == pytest.approx(ece(score_N, right_N, 8))
