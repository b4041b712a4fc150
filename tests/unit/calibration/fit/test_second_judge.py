"""The second judge: fitted on drafts as they get to a tier, and trusted as far as they allow."""

import dataclasses

import numpy as np
import pytest

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.calibration.fit import second_judge as module
from cascadia_sglang.calibration.fit.calibrate import CalibratedCascade, Settings, calibrate_parts
from cascadia_sglang.calibration.fit.replay import CascadeReplay
from cascadia_sglang.calibration.fit.second_judge import (
    LEAST_KEPT,
    MOST_LOST,
    confirmed,
    fit_second_judges,
    suggested_low,
)
from cascadia_sglang.calibration.fit.split import Parts, split_sample
from cascadia_sglang.calibration.fit.thresholds import Target
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.judge.features import FEATURES, earlier_features
from tests.unit.calibration.pools import make_pool

COUNT = 6000


def with_drafts(pool: Pool, signal: float, kept_share: float | None = None) -> Pool:
    """Every tier but the first tells by a draft's features whether it is right, so well."""
    rng = np.random.default_rng(7)
    tiers = [pool.tiers[0]]
    for before, tier in zip(pool.tiers, pool.tiers[1:], strict=False):
        draft_NF = rng.normal(size=(len(pool), len(FEATURES)))
        draft_NF[:, 0] += signal * (before.right_N * 2.0 - 1.0)
        kept_N = before.right_N * 0.9 if kept_share is None else np.full(len(pool), kept_share)
        tiers.append(dataclasses.replace(tier, draft_NF=draft_NF, kept_N=kept_N))
    return dataclasses.replace(pool, tiers=tuple(tiers))


def calibrated(pool: Pool) -> tuple[CalibratedCascade, Parts]:
    parts = split_sample(pool)
    settings = Settings(
        tier_names=("small", "middle", "large"),
        tier_cost=(1.0, 3.0, 9.0),
        target=Target(kind="loss", value=0.02),
        early_abort=0.05,
    )
    return calibrate_parts(parts, settings), parts


@pytest.fixture(scope="module")
def certain() -> tuple[CalibratedCascade, Parts]:
    return calibrated(with_drafts(make_pool(COUNT), signal=4.0))


def test_it_is_fitted_on_what_a_probe_says_of_answers_that_it_has_not_seen() -> None:
    """With as many values as answers, a probe has learnt those that fitted it."""
    pool = with_drafts(make_pool(1200, skills=(0.0, 1.5)), signal=1.0)
    hidden_NH = np.random.default_rng(6).normal(size=(1200, 300))
    hidden_NH[:, :40] += 0.15 * np.where(pool.tiers[0].right_N, 1.0, -1.0)[:, np.newaxis]
    first = dataclasses.replace(pool.tiers[0], hidden_NH=hidden_NH)
    parts = split_sample(dataclasses.replace(pool, tiers=(first, pool.tiers[1])))
    settings = Settings(
        tier_names=("small", "large"),
        tier_cost=(1.0, 9.0),
        target=Target(kind="escalation_rate", value=0.8),
        early_abort=None,
    )
    cascade = calibrate_parts(parts, settings)
    trial = cascade.trials[0]
    assert trial is not None
    assert trial.is_used
    [judge] = fit_second_judges(cascade, parts)

    def mean_of_first_scores(probed_N: FloatArray | None) -> list[float]:
        replay = CascadeReplay(cascade.calibrations, parts.fit, None, probed=[probed_N, None])
        is_rejected_N = replay.serve(cascade.thresholds).reached_NT[:, 1]
        known_nJ = replay.known_scores(cascade.thresholds)[is_rejected_N]
        mean: list[float] = earlier_features(known_nJ).mean(axis=0).tolist()
        return mean

    fitted = judge.calibration.mean[len(FEATURES) :]
    assert fitted == pytest.approx(mean_of_first_scores(trial.probed_N), rel=1e-9)
    assert fitted != pytest.approx(mean_of_first_scores(None), rel=1e-2)


def test_every_tier_that_reads_drafts_has_one_of_its_place(
    certain: tuple[CalibratedCascade, Parts],
) -> None:
    judges = fit_second_judges(*certain)
    assert [judge.tier for judge in judges] == [1, 2]
    assert [judge.calibration.earlier_tiers for judge in judges] == [1, 2]
    for judge in judges:
        assert not judge.calibration.prefix
        assert judge.calibration.report["auroc"] > 0.95


def test_a_judge_that_knows_confirms_the_right_drafts_and_loses_none_to_speak_of(
    certain: tuple[CalibratedCascade, Parts],
) -> None:
    cascade, parts = certain
    for judge in fit_second_judges(cascade, parts):
        assert judge.high is not None
        assert 0.5 <= judge.high <= 1.0
        drafts = module._drafts(cascade, parts.choose, judge.tier)
        assert drafts is not None
        is_confirmed_n = module._score(judge.calibration, drafts) >= judge.high
        lost = int((drafts.right_instead_n & ~drafts.right_n)[is_confirmed_n].sum())
        won = int((~drafts.right_instead_n & drafts.right_n)[is_confirmed_n].sum())
        assert lost - won <= MOST_LOST * len(parts.choose)
        # Right drafts are found, wrong ones are not.
        assert is_confirmed_n[drafts.right_n].mean() > 0.7
        assert is_confirmed_n[~drafts.right_n].mean() < 0.1
        counts = confirmed(judge, cascade, parts.certify, judge.high)
        assert 0 < counts.confirmed <= counts.drafts < counts.prompts == len(parts.certify)
        assert confirmed(judge, cascade, parts.certify, 1.1).confirmed == 0


def test_a_draft_is_compared_with_what_would_go_out_in_its_place(
    certain: tuple[CalibratedCascade, Parts],
) -> None:
    cascade, parts = certain
    served = cascade.replay(parts.choose).serve(cascade.thresholds)
    drafts = module._drafts(cascade, parts.choose, 1)
    assert drafts is not None
    assert np.array_equal(drafts.right_n, parts.choose.tiers[0].right_N[drafts.rows_n])
    assert np.array_equal(drafts.right_instead_n, served.right_N[drafts.rows_n])
    assert served.reached_NT[drafts.rows_n, 1].all()
    # What was ended early is no whole answer.
    assert not served.ended_NT[drafts.rows_n, 0].any()


def test_a_judge_that_knows_nothing_confirms_next_to_nothing() -> None:
    cascade, parts = calibrated(with_drafts(make_pool(COUNT, seed=3), signal=0.0))
    for judge in fit_second_judges(cascade, parts):
        counts = confirmed(judge, cascade, parts.certify, judge.high or 1.1)
        assert counts.confirmed < 0.3 * counts.drafts


def test_without_recorded_drafts_there_is_none() -> None:
    cascade, parts = calibrated(make_pool(COUNT))
    assert fit_second_judges(cascade, parts) == []
    assert suggested_low(cascade, parts.choose) == 0.0


@pytest.mark.parametrize(
    ("scores", "right", "instead", "high"),
    [
        # Two may be lost of 2,000 prompts.
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1], [1, 1, 1, 1], 0.6),
        ([0.9, 0.8, 0.7, 0.6], [0, 0, 0, 1], [1, 1, 1, 1], 0.8),
        ([0.9, 0.8, 0.7, 0.4], [1, 1, 1, 1], [0, 0, 0, 0], 0.7),
        ([0.9, 0.7, 0.7, 0.7], [0, 0, 0, 1], [1, 1, 1, 1], 0.9),
        ([0.9, 0.9, 0.9, 0.6], [0, 0, 0, 1], [1, 1, 1, 1], None),
        ([0.4, 0.3, 0.2, 0.1], [1, 1, 1, 1], [1, 1, 1, 1], None),
        ([], [], [], None),
    ],
)
def test_the_least_score_that_loses_no_more_than_allowed(
    scores: list[float], right: list[int], instead: list[int], high: float | None
) -> None:
    drafts = module._Drafts(
        np.arange(len(scores)),
        np.zeros((len(scores), len(FEATURES))),
        np.zeros((len(scores), 1)),
        np.array(right, dtype=bool),
        np.array(instead, dtype=bool),
    )
    assert module._high(np.array(scores), drafts, prompts=2000) == high


@pytest.mark.parametrize(("kept_share", "low"), [(0.0, 0.5), (LEAST_KEPT / 2, 0.5), (0.5, 0.0)])
def test_a_draft_of_which_nothing_is_kept_is_not_worth_reading(
    kept_share: float, low: float
) -> None:
    cascade, parts = calibrated(with_drafts(make_pool(COUNT), signal=1.0, kept_share=kept_share))
    assert suggested_low(cascade, parts.choose) == low
