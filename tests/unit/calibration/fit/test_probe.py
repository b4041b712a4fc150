"""A probe gains where the hidden states tell of the outcome, and counts for nothing elsewhere."""

import dataclasses

import msgspec
import numpy as np
import pytest
from scipy.optimize import minimize

from cascadia_sglang.arrays import FloatArray
from cascadia_sglang.calibration.fit.probe import (
    PENALTIES,
    _folds,
    fit_probe,
    try_probe,
    with_probe,
)
from cascadia_sglang.calibration.fit.replay import CascadeReplay, TierReplay, sigmoid
from cascadia_sglang.calibration.fit.scores import fit_tier, fit_tiers
from cascadia_sglang.calibration.fit.statistics import auroc, ece
from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.judge.calibration import Calibration, ScoreModel
from cascadia_sglang.judge.probe import probe_log_odds
from tests.unit.calibration.pools import make_pool

H, COUNT = 12, 1500


def hidden_of(answers: TierAnswers, seed: int, is_told: bool) -> FloatArray:
    """Hidden states; where it is told, one value is larger where the answer is right."""
    rng = np.random.default_rng(seed)
    hidden_NH = rng.normal(size=(len(answers.right_N), H))
    if is_told:
        sign_N = np.where(answers.right_N, 1.0, -1.0)
        hidden_NH[:, 0] += 0.8 * sign_N
    return hidden_NH


@pytest.fixture(scope="module", params=[True, False], ids=["told", "noise"])
def fitted(request: pytest.FixtureRequest):
    """Whether the hidden states tell, the calibration with a probe, and unseen answers."""
    fit_answers, test_answers = (make_pool(COUNT, seed, skills=(0.0,)).tiers[0] for seed in (1, 3))
    logits = fit_tier(fit_answers, np.empty((COUNT, 0)))
    hidden_NH = hidden_of(fit_answers, 1, request.param)
    both = with_probe(logits, fit_answers.features_NF, hidden_NH, fit_answers.right_N)
    return request.param, logits, both, test_answers, hidden_of(test_answers, 3, request.param)


def test_it_gains_where_the_hidden_states_tell_and_loses_nothing_elsewhere(fitted) -> None:
    is_told, logits, both, answers, hidden_NH = fitted
    probed_N = np.full(COUNT, np.nan)
    if both.probe is not None:
        probed_N = probe_log_odds(hidden_NH, both.probe.unpacked())
    rows = (answers.features_NF, probed_N)
    scores = [
        np.array([ScoreModel(c).score(x, (), p) for x, p in zip(*rows, strict=True)])
        for c in (logits, both)
    ]
    without, with_ = (auroc(score_N, answers.right_N) for score_N in scores)
    assert ece(scores[1], answers.right_N) < 0.04
    if is_told:
        assert with_ - without > 0.02
    else:
        assert abs(with_ - without) < 0.005
        assert both == logits


def test_only_the_score_changes(fitted) -> None:
    _, logits, both, _, _ = fitted
    same = {"weights": both.weights, "bias": both.bias, "probe": both.probe}
    assert msgspec.structs.replace(logits, **same) == both


def test_answers_without_hidden_states_are_not_replayed_by_it(fitted) -> None:
    is_told, logits, both, answers, _ = fitted
    if not is_told:
        assert both.probe is None
        return
    assert sigmoid(TierReplay(logits, answers, None).log_odds(np.empty((COUNT, 0)))).max() < 1.0
    with pytest.raises(ValueError, match="keep no hidden states"):
        TierReplay(both, answers, None)


@pytest.mark.parametrize("count", [300, 60], ids=["more answers than values", "fewer"])
def test_the_probe_is_the_penalised_regression_on_normalised_states(count: int) -> None:
    """Beside scipy's minimiser, at each penalty that the fit may choose."""
    rng = np.random.default_rng(7)
    hidden_NH = rng.normal(2.0, 3.0, (count, 90))
    right_N = hidden_NH[:, 0] + rng.normal(0.0, 2.0, count) > 2.0
    parameters, _ = fit_probe(hidden_NH, right_N)
    centred_NH = hidden_NH - hidden_NH.mean(axis=1, keepdims=True)
    normed_NH = centred_NH / centred_NH.std(axis=1, keepdims=True)
    x_NH = (normed_NH - normed_NH.mean(axis=0)) / normed_NH.std(axis=0)
    sign_N = np.where(right_N, 1.0, -1.0)

    def odds(penalty: float) -> FloatArray:
        def loss(weights: FloatArray) -> tuple[float, FloatArray]:
            margin_N = sign_N * (x_NH @ weights[:-1] + weights[-1])
            slope_N = -sign_N / (1.0 + np.exp(margin_N))
            gradient = np.append(slope_N @ x_NH + penalty * weights[:-1], slope_N.sum())
            size = 0.5 * penalty * weights[:-1] @ weights[:-1]
            return float(np.logaddexp(0.0, -margin_N).sum() + size), gradient

        best = minimize(loss, np.zeros(x_NH.shape[1] + 1), jac=True, tol=1e-9).x
        return x_NH @ best[:-1] + best[-1]

    distances = [
        np.abs(probe_log_odds(hidden_NH, parameters) - odds(penalty)).max() for penalty in PENALTIES
    ]
    assert min(distances) < 1e-2


def test_the_log_odds_left_out_are_of_probes_that_never_saw_the_answer() -> None:
    rng = np.random.default_rng(8)
    hidden_NH, right_N = rng.normal(size=(200, 150)), rng.random(200) < 0.5
    parameters, left_out_N = fit_probe(hidden_NH, right_N)
    assert auroc(probe_log_odds(hidden_NH, parameters), right_N) > 0.7
    assert 0.35 < auroc(left_out_N, right_N) < 0.65


@pytest.fixture(scope="module")
def by_logits() -> Calibration:
    return fit_tier(make_pool(COUNT, 1, skills=(0.0,)).tiers[0], np.empty((COUNT, 0)))


@pytest.mark.parametrize("count", [100, 101])
@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_hidden_states_that_are_all_alike_count_for_nothing(
    count: int, noise: float, by_logits: Calibration
) -> None:
    """What is left of them is rounding, which no weight may make larger."""
    answers = make_pool(count, 1, skills=(0.0,)).tiers[0]
    rng = np.random.default_rng(2)
    right_N = rng.permutation(np.arange(count) < 0.3 * count)
    hidden_NH = np.full((count, H), 0.7)
    hidden_NH[:, 0] += noise * (right_N + rng.normal(size=count))
    assert with_probe(by_logits, answers.features_NF, hidden_NH, right_N) == by_logits


@pytest.mark.parametrize("few", [0, 1, 4])
@pytest.mark.parametrize("kind", [True, False], ids=["right", "wrong"])
def test_fewer_answers_of_a_kind_than_folds_teach_no_probe(
    few: int, kind: bool, by_logits: Calibration
) -> None:
    """A fold without one of them would be fitted to the other kind alone."""
    answers = make_pool(60, 1, skills=(0.0,)).tiers[0]
    is_kind_N = np.arange(60) < few
    hidden_NH = np.random.default_rng(3).normal(size=(60, H))
    hidden_NH[is_kind_N, 0] += 4.0
    right_N = is_kind_N if kind else ~is_kind_N
    assert with_probe(by_logits, answers.features_NF, hidden_NH, right_N) == by_logits


def test_every_fold_leaves_answers_of_both_kinds_out() -> None:
    right_N = np.arange(40) < 5
    folds = list(_folds(right_N))
    assert np.sum(folds, axis=0).tolist() == [1] * 40
    for is_out_N in folds:
        assert (right_N[is_out_N].sum(), is_out_N.sum()) == (1, 8)


# Whether a probe is used, and what follows from it


def probed_pool(seed: int, is_told: bool, count: int = COUNT) -> Pool:
    """Two tiers; the hidden states of the first are known."""
    pool = make_pool(count, seed, skills=(0.0, 1.5))
    first = dataclasses.replace(
        pool.tiers[0], hidden_NH=hidden_of(pool.tiers[0], seed, is_told).astype(np.float32)
    )
    return dataclasses.replace(pool, tiers=(first, pool.tiers[1]))


@pytest.fixture(scope="module")
def told_tiers():
    return fit_tiers(probed_pool(11, is_told=True), 0.05)


def test_a_probe_that_gains_is_used_and_the_trial_says_by_how_much(told_tiers) -> None:
    first, last = told_tiers
    trial = first.trial
    assert trial.is_used
    assert first.calibration.probe is not None
    assert trial.answers == COUNT
    assert 0.0 < trial.gain_low95 < trial.loss_without - trial.loss_with
    assert last.trial is None
    assert last.calibration.probe is None


def test_the_trial_is_what_unseen_answers_show(told_tiers) -> None:
    asked = probed_pool(12, is_told=True, count=6000).tiers[0]
    nothing = np.empty((6000, 0))
    logits = fit_tier(probed_pool(11, is_told=True).tiers[0], np.empty((COUNT, 0)))
    losses = []
    for calibration in (logits, told_tiers[0].calibration):
        odds_N = TierReplay(calibration, asked, None).log_odds(nothing)
        losses.append(np.logaddexp(0.0, np.where(asked.right_N, -odds_N, odds_N)).mean())
    trial = told_tiers[0].trial
    assert losses == pytest.approx([trial.loss_without, trial.loss_with], abs=0.03)
    assert losses[0] - losses[1] > trial.gain_low95


def test_hidden_states_that_tell_nothing_seldom_bring_a_probe() -> None:
    used = 0
    for seed in range(20):
        answers = make_pool(200, seed, skills=(0.0,)).tiers[0]
        logits = fit_tier(answers, np.empty((200, 0)))
        hidden_NH = hidden_of(answers, 100 + seed, is_told=False)
        found, trial = try_probe(logits, answers.features_NF, hidden_NH, answers.right_N)
        assert (found == logits) is not trial.is_used
        used += trial.is_used
    assert used <= 2


def test_a_replay_gives_the_score_that_the_worker_gives(told_tiers) -> None:
    calibration = told_tiers[0].calibration
    pool = probed_pool(13, is_told=True, count=200)
    answers = pool.tiers[0]
    model, parameters = ScoreModel(calibration), calibration.probe.unpacked()
    expected = [
        model.score(x, (), float(probe_log_odds(state_H[np.newaxis], parameters)[0]))
        for x, state_H in zip(answers.features_NF, answers.hidden_NH, strict=True)
    ]
    replay = CascadeReplay([tier.calibration for tier in told_tiers], pool, None)
    np.testing.assert_allclose(replay.serve((0.5,)).score_NT[:, 0], expected, rtol=1e-9)


def test_the_next_tier_is_fitted_on_what_probes_say_of_answers_they_have_not_seen() -> None:
    """As many values as answers: of those that fitted it, a probe says what it has learnt."""
    pool = make_pool(300, 5, skills=(0.0, 1.5))
    rng = np.random.default_rng(6)
    right_N = pool.tiers[0].right_N
    hidden_NH = rng.normal(size=(300, 300))
    hidden_NH[:, :40] += 0.15 * np.where(right_N, 1.0, -1.0)[:, None]
    first = dataclasses.replace(pool.tiers[0], hidden_NH=hidden_NH)
    tiers = fit_tiers(dataclasses.replace(pool, tiers=(first, pool.tiers[1])), None)
    trial = tiers[0].trial
    assert trial.is_used
    learnt_N = probe_log_odds(hidden_NH, tiers[0].calibration.probe.unpacked())
    assert auroc(learnt_N, right_N) > auroc(trial.probed_N, right_N) + 0.02
    replay = TierReplay(tiers[0].calibration, first, None, trial.probed_N)
    known_NJ = sigmoid(replay.log_odds(np.empty((300, 0))))[:, np.newaxis]
    expected = fit_tier(pool.tiers[1], known_NJ)
    assert tiers[1].calibration == expected


def test_the_chance_on_the_way_foretells_the_score_with_the_probe(told_tiers) -> None:
    """Features after two tokens know nothing of the probe; its spread is in the deviation."""
    asked = probed_pool(14, is_told=True, count=6000).tiers[0]
    nothing, threshold = np.empty((6000, 0)), 0.7
    replay = TierReplay(told_tiers[0].calibration, asked, None)
    chance_N = replay.chance(2, threshold, nothing)
    running_N = np.isfinite(chance_N)
    reaches_N = sigmoid(replay.log_odds(nothing)) >= threshold
    assert ece(chance_N[running_N], reaches_N[running_N]) < 0.04


def test_an_answer_without_its_hidden_state_has_no_score_and_fits_no_probe() -> None:
    pool = probed_pool(15, is_told=True)
    first = pool.tiers[0]
    hidden_NH = first.hidden_NH.copy()
    hidden_NH[::10] = np.nan
    pool = dataclasses.replace(
        pool, tiers=(dataclasses.replace(first, hidden_NH=hidden_NH), pool.tiers[1])
    )
    tiers = fit_tiers(pool, None)
    trial = tiers[0].trial
    assert trial.is_used
    assert trial.answers == COUNT - COUNT // 10
    score_NT = CascadeReplay([t.calibration for t in tiers], pool, None).serve((0.5,)).score_NT
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(score_NT[:, 0])), range(0, COUNT, 10))


def test_equal_prompts_are_left_out_together() -> None:
    """Each is asked four times; noise that a probe knows by heart looks like a gain otherwise."""
    once = make_pool(150, 16, skills=(0.0, 1.5))
    rng = np.random.default_rng(17)
    first = dataclasses.replace(once.tiers[0], hidden_NH=rng.normal(size=(150, 100)))
    once = dataclasses.replace(once, tiers=(first, once.tiers[1]))
    pool = once.take(np.tile(np.arange(150), 4))
    trial = fit_tiers(pool, None)[0].trial
    assert not trial.is_used
    apart = dataclasses.replace(pool, prompt_keys=tuple(map(str, range(600))))
    assert fit_tiers(apart, None)[0].trial.is_used
    assert abs(auroc(trial.probed_N, pool.tiers[0].right_N) - 0.5) < 0.15


def test_folds_leave_prompts_out_whole() -> None:
    prompt_N = np.array([3, 1, 1, 2, 3] * 8) + 10 * np.repeat(np.arange(8), 5)
    right_N = np.arange(40) % 2 == 0
    folds = list(_folds(right_N, prompt_N))
    assert np.sum(folds, axis=0).tolist() == [1] * 40
    for is_out_N in folds:
        assert not set(prompt_N[is_out_N]) & set(prompt_N[~is_out_N])
