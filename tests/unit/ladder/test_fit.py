"""Fitting a calibration: the fits recover what made the data, and the file tells the truth."""

from __future__ import annotations

import numpy as np
import pytest

from bench.ladder.export import LADDER
from bench.ladder.fit import (
    fit_calibration,
    fit_logistic,
    fit_ridge,
    report,
    serve,
    serve_all,
    table_row,
)
from bench.ladder.metrics import auroc, brier, ece
from bench.ladder.observe import Observation, observe
from bench.ladder.splits import sample
from cascadia_sglang.judge import state
from cascadia_sglang.judge.calibration import ScoreModel, load_calibration


def test_logistic_fit_recovers_the_weights_behind_the_labels() -> None:
    rng = np.random.default_rng(0)
    x_NF = rng.normal(size=(20_000, 3))
    true_F = np.array([1.5, -0.7, 0.0])
    right_N = rng.random(20_000) < 1 / (1 + np.exp(-(x_NF @ true_F + 0.4)))
    weights_F, bias = fit_logistic(x_NF, right_N)
    np.testing.assert_allclose([*weights_F, bias], [*true_F, 0.4], atol=0.08)


def test_logistic_fit_stays_finite_on_separable_rows() -> None:
    x_NF = np.array([[-1.0], [1.0]] * 50)
    weights_F, bias = fit_logistic(x_NF, x_NF[:, 0] > 0)
    assert np.isfinite([*weights_F, bias]).all()
    assert weights_F[0] > 1


def test_ridge_fit_recovers_line_and_residual() -> None:
    rng = np.random.default_rng(1)
    x_NF = rng.normal(size=(20_000, 2)) + 3
    target_N = x_NF @ [2.0, -1.0] + 5 + 0.5 * rng.normal(size=20_000)
    weights_F, bias, residual_sd = fit_ridge(x_NF, target_N)
    np.testing.assert_allclose([*weights_F, bias, residual_sd], [2, -1, 5, 0.5], atol=0.05)


def test_auroc_counts_pairs_and_half_of_ties() -> None:
    right_N = np.array([True, True, False, False])
    assert auroc(np.array([0.9, 0.5, 0.5, 0.1]), right_N) == pytest.approx(3.5 / 4)
    assert np.isnan(auroc(np.ones(2), np.ones(2, dtype=bool)))


def test_brier_and_ece_of_a_known_case() -> None:
    right_N = np.array([True, False] * 30)
    assert brier(np.full(60, 0.5), right_N) == pytest.approx(0.25)
    assert ece(np.full(60, 0.5), right_N) == pytest.approx(0.0)
    assert ece(np.full(60, 0.9), right_N) == pytest.approx(0.4)


def test_a_row_of_the_table_follows_rows_through_three_tiers() -> None:
    right_NJ = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]], dtype=bool)
    known_NJ = np.array([[0.9, 0.9, 0.0], [0.6, 0.9, 0.0], [np.nan, 0.6, 0.0], [0.1, 0.1, 0.0]])
    assert table_row(0.5, known_NJ, right_NJ) == "| 0.5 | 0.500, 0.250, 0.250 | 0.2500 |"
    assert table_row(0.7, known_NJ, right_NJ) == "| 0.7 | 0.250, 0.250, 0.500 | 0.7500 |"


NO_TIERS = np.empty((600, 0))


@pytest.fixture(scope="module")
def seen() -> Observation:
    return observe(LADDER / "small", sample("calibration", 1, 600))


def test_observation_counts_the_end_of_sequence_token(seen: Observation) -> None:
    rows = sample("calibration", 1, 600)
    tokens_N = np.array([len(row.answer) + 1 for row in rows])
    right_N = seen.correct_N
    np.testing.assert_array_equal(seen.final_NS[right_N, state.COUNT], tokens_N[right_N])
    np.testing.assert_array_equal(seen.prompt_tokens_N, [len(row.prompt) + 1 for row in rows])


def test_prefix_state_has_as_many_tokens_as_its_checkpoint(seen: Observation) -> None:
    longer_N = seen.longer_than(4)
    assert longer_N.any()
    assert (seen.prefix_NS[4][longer_N, state.COUNT] == 4).all()


def test_fitted_calibration_separates_right_from_wrong(seen: Observation) -> None:
    calibration = fit_calibration(seen, NO_TIERS)
    others = observe(LADDER / "small", sample("test", 1, 300))
    score_N, _ = serve(calibration, others, NO_TIERS[:300], np.full(300, 0.9))
    told = report(others, score_N, score_N < 0.9)
    assert told["held_out"] == 300
    assert told["reached"] == (score_N < 0.9).sum()
    assert told["accuracy_reached"] < told["accuracy"]
    assert told["auroc"] > 0.85
    assert told["ece"] < 0.15
    assert [model.tokens for model in calibration.prefix][:2] == [2, 4]


def test_committed_calibration_fits_the_committed_model(seen: Observation) -> None:
    calibration = load_calibration(LADDER / "small" / "calibration.json")
    score_N, ended_N = serve(calibration, seen, NO_TIERS, np.full(600, 0.9))
    assert 0.0 < ended_N.mean() < 0.3
    assert seen.correct_N[ended_N].mean() < 0.3
    assert auroc(score_N, seen.correct_N) > 0.9
    assert abs(score_N.mean() - seen.correct_N.mean()) < 0.06


def test_early_chance_tells_hopeless_from_promising(seen: Observation) -> None:
    calibration = load_calibration(LADDER / "small" / "calibration.json")
    model, longer_N = ScoreModel(calibration), seen.longer_than(4)
    prefix_NF = seen.prefix_features(4)
    chance_N = np.array([model.chance_of_acceptance(4, row_F, 0.8) for row_F in prefix_NF])
    assert auroc(chance_N, seen.correct_N[longer_N]) > 0.85


def test_a_tier_behind_another_is_fitted_on_what_serving_knows_of_it(seen: Observation) -> None:
    """Attempts that were ended early leave their score unknown, all others keep theirs."""
    first = load_calibration(LADDER / "small" / "calibration.json")
    threshold_N = np.full(600, 0.9)
    score_NJ, known_NJ = serve_all([first], [seen], threshold_N)
    _, ended_N = serve(first, seen, NO_TIERS, threshold_N)
    np.testing.assert_array_equal(np.isnan(known_NJ[:, 0]), ended_N)
    np.testing.assert_array_equal(known_NJ[~ended_N], score_NJ[~ended_N])
    second = fit_calibration(seen, known_NJ)
    assert second.earlier_tiers == 1
    assert second.mean[second.features.index("tier_0_unknown")] == pytest.approx(ended_N.mean())
