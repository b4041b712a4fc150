"""The search for thresholds against brute force, and what targets mean."""

import itertools

import numpy as np
import pytest

from cascadia_sglang.calibration.fit.replay import CascadeReplay
from cascadia_sglang.calibration.fit.scores import fit_cascade
from cascadia_sglang.calibration.fit.thresholds import (
    GRID,
    Target,
    ThresholdResult,
    choose,
    grid,
    outcome_of,
    tier_grid,
)
from cascadia_sglang.errors import CalibrationError
from tests.unit.calibration.pools import make_pool

COST = (1.0, 2.5, 9.0)
TARGETS = [
    Target(kind="quality", value=0.75),
    Target(kind="loss", value=0.03),
    Target(kind="escalation_rate", value=0.2),
    Target(kind="cost", value=4.0),
]


@pytest.fixture(scope="module")
def replay() -> CascadeReplay:
    return CascadeReplay(fit_cascade(make_pool(400, seed=1), 0.05), make_pool(250, seed=2), 0.05)


def all_outcomes(replay: CascadeReplay) -> list[ThresholdResult]:
    """Every pair of thresholds of a fine even grid: none of the search's own points."""
    steps = np.linspace(0, 1, 41)
    pairs = itertools.product(steps, steps)
    return [outcome_of(replay.serve(pair), pair, COST) for pair in pairs]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.kind)
def test_no_other_thresholds_do_better(replay: CascadeReplay, target: Target) -> None:
    best = choose(replay, COST, target)
    assert target.is_met(best)
    others = [other for other in all_outcomes(replay) if target.is_met(other)]
    if target.kind in ("quality", "loss"):
        assert best.cost <= min(other.cost for other in others) + 0.03
    else:
        assert best.quality >= max(other.quality for other in others) - 0.004


def test_an_outcome_is_what_the_rows_say(replay: CascadeReplay) -> None:
    served = replay.serve((0.8, 0.6))
    outcome = outcome_of(served, (0.8, 0.6), COST)
    lost_N = served.last_right_N.astype(float) - served.right_N
    assert outcome.quality == pytest.approx(served.right_N.mean())
    assert outcome.loss == pytest.approx(served.last_right_N.mean() - outcome.quality)
    assert outcome.loss_high95 == pytest.approx(outcome.loss + 1.645 * lost_N.std() / 250**0.5)
    assert outcome.shares == pytest.approx(tuple(served.reached_NT.mean(0)))
    assert outcome.cost == pytest.approx(1 + 2.5 * outcome.shares[1] + 9 * outcome.shares[2])


def test_target_out_of_reach_says_how_near_it_comes(replay: CascadeReplay) -> None:
    with pytest.raises(CalibrationError, match=r"no thresholds give quality 0\.999"):
        choose(replay, COST, Target(kind="quality", value=0.999))


def test_descent_over_three_thresholds_comes_near_the_best_of_a_grid() -> None:
    skills = (-1.0, 0.5, 1.5, 3.0)
    calibrations = fit_cascade(make_pool(400, seed=3, skills=skills), None)
    replay = CascadeReplay(calibrations, make_pool(150, seed=4, skills=skills), None)
    cost, target = (1.0, 2.0, 4.0, 8.0), Target(kind="cost", value=5.0)
    best = choose(replay, cost, target)
    assert target.is_met(best)
    tried = itertools.product(np.linspace(0, 1, 9), repeat=3)
    others = [outcome_of(replay.serve(thresholds), thresholds, cost) for thresholds in tried]
    assert best.quality >= max(o.quality for o in others if target.is_met(o)) - 0.005


def test_a_cascade_of_one_tier_has_nothing_to_choose() -> None:
    pool = make_pool(50, seed=5, skills=(0.0,))
    best = choose(CascadeReplay([], pool, None), (1.0,), Target(kind="loss", value=0.0))
    assert (best.thresholds, best.loss, best.cost) == ((), 0.0, 1.0)


def test_grid_is_short_rounded_and_spans_all() -> None:
    score_N = np.r_[np.random.default_rng(0).random(1000), np.nan]
    points = grid(score_N)
    assert len(points) <= GRID
    assert (points[0], points[-1]) == (0.0, 1.0)
    assert points == sorted({round(point, 4) for point in points})
    assert grid(np.array([np.nan])) == [0.0, 1.0]


def test_a_later_tiers_grid_is_of_the_prompts_that_reach_it(replay: CascadeReplay) -> None:
    """Quantiles of all prompts would leave few points to a tier that few of them reach."""
    first = grid(replay.tier_scores(0, ()).accepted_at_N)[40]
    reached_N = replay.serve((first, 1.0)).reached_NT[:, 1]
    scores_N = replay.tier_scores(1, (first,)).accepted_at_N[reached_N]
    inner = set(tier_grid(replay, 1, (first,))) - {0.0, 1.0}
    assert 20 < reached_N.sum() < 200
    assert inner <= set(np.round(scores_N, 4).tolist())
    assert len(inner) >= min(GRID - 3, len(set(np.round(scores_N, 4)))) - 2
