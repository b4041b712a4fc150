"""Fits recover what made the data."""

import dataclasses
import sys

import numpy as np
import pytest

from cascadia_sglang.calibration.fit import fit_cascade, fit_logistic, fit_prefix
from cascadia_sglang.calibration.replay import CascadeReplay, TierReplay
from cascadia_sglang.calibration.statistics import auroc, ece
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.features import logit
from tests.unit.calibration.pools import make_pool


def newton(x_NG: np.ndarray, right_N: np.ndarray, l2: float) -> np.ndarray:
    """The same regression by Newton's method, bias last and free."""
    ones_NG = np.column_stack((x_NG, np.ones(len(x_NG))))
    penalty_G = np.append(np.full(x_NG.shape[1], l2), 0.0)
    weights_G = np.zeros(len(penalty_G))
    for _ in range(50):
        chance_N = 1 / (1 + np.exp(-ones_NG @ weights_G))
        gradient_G = ones_NG.T @ (chance_N - right_N) + penalty_G * weights_G
        curvature_NG = ones_NG * (chance_N * (1 - chance_N))[:, None]
        weights_G -= np.linalg.solve(ones_NG.T @ curvature_NG + np.diag(penalty_G), gradient_G)
    return weights_G


def test_logistic_fit_is_the_penalised_maximum() -> None:
    rng = np.random.default_rng(0)
    x_NG = rng.normal(size=(500, 3))
    right_N = rng.random(500) < 1 / (1 + np.exp(-(x_NG @ [1.5, -0.7, 0.0] + 0.4)))
    weights_G, bias = fit_logistic(x_NG, right_N, 2.0)
    np.testing.assert_allclose([*weights_G, bias], newton(x_NG, right_N, 2.0), atol=1e-4)


def test_logistic_fit_stays_finite_on_separable_rows() -> None:
    x_NG = np.array([[-1.0], [1.0]] * 50)
    weights_G, bias = fit_logistic(x_NG, x_NG[:, 0] > 0)
    assert np.isfinite([*weights_G, bias]).all()
    assert weights_G[0] > 1


def test_prefix_fit_recovers_line_and_deviation() -> None:
    rng = np.random.default_rng(1)
    x_NG = rng.normal(size=(20_000, 2))
    log_odds_N = x_NG @ [2.0, -1.0] + 0.5 + 1.2 * rng.normal(size=20_000)
    model = fit_prefix(x_NG, log_odds_N, tokens=4)
    found = [*model.weights, model.bias, model.residual_sd]
    np.testing.assert_allclose(found, [2, -1, 0.5, 1.2], rtol=0.1)


def test_prefix_fit_needs_final_scores_on_both_sides_of_some_threshold() -> None:
    assert fit_prefix(np.zeros((200, 1)), np.full(200, 9.0), tokens=2) is None


def test_scores_and_chances_mean_what_they_say_on_other_prompts() -> None:
    pool = make_pool(6_000, seed=5)
    calibrations = fit_cascade(make_pool(6_000, seed=4), 0.05)
    thresholds = (0.8, 0.7)
    served = CascadeReplay(calibrations, pool, 0.05).serve(thresholds)
    for tier in range(2):
        reached_N = served.reached_NT[:, tier]
        score_N, right_N = served.score_NT[reached_N, tier], pool.tiers[tier].right_N[reached_N]
        assert ece(score_N, right_N) < 0.05
        assert auroc(score_N, right_N) > 0.75
    replay = TierReplay(calibrations[0], pool.tiers[0], None)
    chance_N = replay.chance(2, 0.8, np.empty((len(pool), 0)))
    running_N = np.isfinite(chance_N)
    assert ece(chance_N[running_N], served.score_NT[running_N, 0] >= 0.8) < 0.04


def test_a_later_tier_gains_from_what_earlier_ones_said() -> None:
    """Its own features are noise here, but an earlier tier tells how hard the prompt is."""
    pool = make_pool(4_000, seed=6)
    noise_NF = np.random.default_rng(0).normal(size=pool.tiers[1].features_NF.shape)
    blind = dataclasses.replace(pool.tiers[1], features_NF=noise_NF, prefix_NF={})
    pool = dataclasses.replace(pool, tiers=(pool.tiers[0], blind))
    calibrations = fit_cascade(pool, None)
    replay = TierReplay(calibrations[1], blind, None)
    known_NJ = CascadeReplay(calibrations, pool, None).known_scores((0.5,))
    assert auroc(replay.log_odds(known_NJ), blind.right_N) > 0.8
    assert auroc(replay.log_odds(np.full_like(known_NJ, np.nan)), blind.right_N) < 0.6
    assert calibrations[1].features[-2:] == ["tier_0_logit", "tier_0_unknown"]


def test_a_tier_that_is_always_right_has_no_score_unless_it_is_the_last() -> None:
    pool = make_pool(300, seed=7)
    certain = [dataclasses.replace(tier, right_N=np.ones(300, dtype=bool)) for tier in pool.tiers]
    last = dataclasses.replace(pool, tiers=(*pool.tiers[:2], certain[2]))
    assert len(fit_cascade(last, 0.05)) == 2
    middle = dataclasses.replace(pool, tiers=(pool.tiers[0], certain[1], pool.tiers[2]))
    with pytest.raises(CalibrationError, match=r"tiers\[1\]: of 300 judged answers"):
        fit_cascade(middle, 0.05)


def test_a_missing_library_is_named_with_its_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(CalibrationError, match=r"cascadia-sglang\[calibrate\]"):
        fit_logistic(np.zeros((2, 1)), np.array([True, False]))


def test_log_odds_of_a_score_survive_the_round_trip() -> None:
    assert logit(1 / (1 + np.exp(-2.5))) == pytest.approx(2.5)
