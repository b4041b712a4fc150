"""Replayed cascades against the models and the loop that serve."""

import dataclasses

import msgspec
import numpy as np
import pytest

from cascadia_sglang.calibration.fit.replay import CascadeReplay
from cascadia_sglang.calibration.fit.scores import fit_cascade
from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.judge.calibration import Calibration, ScoreModel
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.router.accept_or_escalate import Finding, Verdict, decide
from tests.unit.calibration.pools import make_pool

EARLY_ABORT = 0.05


@pytest.fixture(scope="module")
def pool() -> Pool:
    return make_pool(300, seed=1)


@pytest.fixture(scope="module")
def calibrations() -> list[Calibration]:
    return fit_cascade(make_pool(600, seed=2), EARLY_ABORT)


TRUNCATED = FEATURES.index("truncated")


def climb(
    calibrations: list[Calibration], pool: Pool, row: int, thresholds: tuple[float, ...]
) -> tuple[int, list[float | None]]:
    """The tier that answers, and the scores known on the way: as judge and router do it."""
    earlier_scores: list[float | None] = []
    for tier, threshold in enumerate(thresholds):
        model, answers = ScoreModel(calibrations[tier]), pool.tiers[tier]
        score: float | None = model.score(answers.features_NF[row], earlier_scores)
        for tokens, rows_NF in answers.prefix_NF.items():
            if not np.isnan(rows_NF[row]).any() and threshold > 0:
                chance = model.chance_of_acceptance(tokens, rows_NF[row], threshold, earlier_scores)
                score = None if chance < EARLY_ABORT else score
        uncut = None
        if answers.features_NF[row, TRUNCATED] == 1.0:
            uncut_F = answers.features_NF[row].copy()
            uncut_F[TRUNCATED] = 0.0
            uncut = model.score(uncut_F, earlier_scores)
        finding = Finding(
            score=score,
            early_abort=score is None,
            uncut_score=uncut,
            next_has_room=False,
        )
        if decide(finding, threshold, "escalate")[0] is Verdict.ACCEPT:
            return tier, [*earlier_scores, score]
        earlier_scores.append(score)
    return len(thresholds), earlier_scores


@pytest.mark.parametrize("thresholds", [(0.9, 0.8), (0.5, 0.99), (0.0, 0.3), (1.0, 1.0)])
def test_replay_sends_every_prompt_where_the_router_does(calibrations, pool, thresholds) -> None:
    served = CascadeReplay(calibrations, pool, EARLY_ABORT).serve(thresholds)
    for row in range(len(pool)):
        tier, scores = climb(calibrations, pool, row, thresholds)
        assert served.answered_by_N[row] == tier
        assert served.right_N[row] == pool.tiers[tier].right_N[row]
        np.testing.assert_array_equal(served.reached_NT[row], [i <= tier for i in range(3)])
        for i, score in enumerate(scores):
            assert served.ended_NT[row, i] == (score is None)
            if score is not None:
                assert served.score_NT[row, i] == pytest.approx(score, abs=1e-12)


def test_some_attempts_are_ended_early_and_some_are_not(calibrations, pool) -> None:
    ended_NT = CascadeReplay(calibrations, pool, EARLY_ABORT).serve((0.9, 0.8)).ended_NT
    assert 0.05 < ended_NT.mean() < 0.95
    never = CascadeReplay(calibrations, pool, None).serve((0.9, 0.8))
    assert not never.ended_NT.any()


def test_a_feature_that_is_not_finite_never_accepts(calibrations, pool) -> None:
    first = dataclasses.replace(
        pool.tiers[0], features_NF=np.full_like(pool.tiers[0].features_NF, np.nan)
    )
    broken = dataclasses.replace(pool, tiers=(first, *pool.tiers[1:]))
    served = CascadeReplay(calibrations, broken, EARLY_ABORT).serve((0.0, 0.0))
    assert (served.answered_by_N == 1).all()


def test_answers_under_a_grammar_pass_a_tier_that_saw_too_few(calibrations, pool) -> None:
    constrained = dataclasses.replace(pool, constrained_N=np.ones(len(pool), dtype=bool))
    served = CascadeReplay(calibrations, constrained, EARLY_ABORT).serve((0.0, 0.0))
    assert (served.answered_by_N == 2).all()
    taught = [msgspec.structs.replace(c, constrained_samples=100) for c in calibrations]
    assert (CascadeReplay(taught, constrained, None).serve((0.0, 0.0)).answered_by_N == 0).all()
