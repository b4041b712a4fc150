"""Fits recover what made the data."""

import dataclasses

import numpy as np
import pytest
from scipy.special import ndtr

from cascadia_sglang.calibration.fit.replay import CascadeReplay, TierReplay
from cascadia_sglang.calibration.fit.scores import fit_cascade, fit_prefix
from cascadia_sglang.calibration.fit.statistics import auroc, ece
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.features import logit
from tests.unit.calibration.pools import make_pool


def test_prefix_fit_recovers_line_and_deviation() -> None:
    rng = np.random.default_rng(1)
    x_NG = rng.normal(size=(20_000, 2))
    log_odds_N = x_NG @ [2.0, -1.0] + 0.5 + 1.2 * rng.normal(size=20_000)
    model = fit_prefix(x_NG, log_odds_N, tokens=4)
    fitted = [*model.weights, model.bias, model.residual_sd]
    np.testing.assert_allclose(fitted, [2, -1, 0.5, 1.2], rtol=0.1)


def test_prefix_fit_needs_final_scores_on_both_sides_of_some_threshold() -> None:
    assert fit_prefix(np.zeros((200, 1)), np.full(200, 9.0), tokens=2) is None


@pytest.mark.parametrize("seed", range(6))
def test_few_attempts_are_ended_wrongly_where_few_answers_are_right(seed: int) -> None:
    """Every threshold that divides the scores of such answers is a low one."""
    rng = np.random.default_rng(seed)
    x_NG = rng.normal(size=(2_000, 10))
    log_odds_N = x_NG[:, 0] - 2.5 + rng.normal(size=2_000)
    fitted, others = slice(400), slice(400, None)
    model = fit_prefix(x_NG[fitted], log_odds_N[fitted], tokens=8)
    assert model is not None
    level = np.median(log_odds_N)
    chance_n = ndtr((x_NG[others] @ model.weights + model.bias - level) / model.residual_sd)
    hopeless_n = chance_n < 0.05
    assert hopeless_n.any()
    assert np.mean(log_odds_N[others][hopeless_n] >= level) < 0.1
    assert model.residual_sd == pytest.approx(1.0, rel=0.2)


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


def test_log_odds_of_a_score_survive_the_round_trip() -> None:
    assert logit(1 / (1 + np.exp(-2.5))) == pytest.approx(2.5)
