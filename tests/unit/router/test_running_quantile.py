"""The share of answers that climbs is the one asked for, whatever their scores are."""

import math
from random import Random

import numpy as np
import pytest

from cascadia_sglang.router.feedback.running_quantile import (
    MOST_DEBT,
    WINDOW,
    RunningQuantile,
    spread,
)


def passed(quantile: RunningQuantile, scores: list[float]) -> list[bool]:
    """Which of these climb, one after the other."""
    climbed = []
    for score in scores:
        climbs = score < quantile.threshold_for(score)
        quantile.note(score, climbs)
        climbed.append(climbs)
    return climbed


def share(climbed: list[bool]) -> float:
    return sum(climbed) / len(climbed)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("kind", ["even", "equal", "two values", "half equal"])
def test_the_share_holds_in_every_two_hundred(rate: float, kind: str) -> None:
    random = Random(3)
    draw = {
        "even": random.random,
        "equal": lambda: 0.5,
        "two values": lambda: random.choice([0.1, 0.9]),
        "half equal": lambda: max(0.5, random.random()),
    }[kind]
    climbed = passed(RunningQuantile(rate), [draw() for _ in range(2_000)])
    for start in range(0, 2_000, 200):
        assert share(climbed[start : start + 200]) == pytest.approx(rate, abs=0.08)
    assert share(climbed) == pytest.approx(rate, abs=0.015)


def test_a_rate_of_none_and_of_all_is_kept_exactly() -> None:
    scores = [Random(0).random() for _ in range(300)]
    assert not any(passed(RunningQuantile(0.0), scores))
    assert all(passed(RunningQuantile(1.0), scores))


@pytest.mark.parametrize(("rate", "threshold"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_the_threshold_is_at_an_end_where_none_or_all_climb(rate: float, threshold: float) -> None:
    quantile = RunningQuantile(rate)
    assert quantile.threshold == rate
    passed(quantile, [Random(0).uniform(0.4, 0.6) for _ in range(300)])
    assert quantile.threshold == pytest.approx(threshold, abs=0.1)


def test_the_first_answers_climb_at_the_rate_too() -> None:
    """Over many servers that have just started, whatever scores the first answers have."""
    firsts = np.array(
        [
            passed(RunningQuantile(0.3, seed=seed), Random(seed).sample([0.2, 0.4, 0.6, 0.8], 4))
            for seed in range(2_000)
        ]
    )
    assert firsts.mean(axis=0) == pytest.approx([0.3] * 4, abs=0.04)


def test_low_scores_are_those_that_climb() -> None:
    random = Random(1)
    quantile = RunningQuantile(0.3)
    passed(quantile, [random.random() for _ in range(WINDOW)])
    scores = [random.random() for _ in range(1_000)]
    climbed = np.array(passed(quantile, scores))
    lowest = np.array(scores) < np.quantile(scores, 0.3)
    assert (climbed == lowest).mean() > 0.9


@pytest.mark.parametrize("shift", [-2.0, 2.0])
def test_the_share_is_made_up_for_where_all_scores_move_at_once(shift: float) -> None:
    random = Random(5)
    before = [random.gauss(0, 1) for _ in range(600)]
    after = [random.gauss(3 * shift, 1) for _ in range(600)]
    to_score = [1 / (1 + math.exp(-x)) for x in before + after]
    climbed = passed(RunningQuantile(0.3), to_score)
    assert share(climbed[600:]) == pytest.approx(0.3, abs=0.04)
    assert share(climbed[800:1000]) == pytest.approx(0.3, abs=0.08)


def test_an_outage_is_not_made_up_for_without_end() -> None:
    """Where nothing could climb for long, as many follow as were lost lately, no more."""
    quantile, random = RunningQuantile(0.3), Random(2)
    for _ in range(2_000):
        quantile.note(random.random(), climbed=False)
    climbed = passed(quantile, [random.random() for _ in range(600)])
    assert sum(climbed) <= 0.3 * 600 + MOST_DEBT + 15


def test_an_answer_that_was_ended_early_counts_as_below() -> None:
    """Half of the answers are hopeless and ended; the rest climbs as seldom as the rate leaves."""
    quantile, random, climbed = RunningQuantile(0.6), Random(4), []
    for _ in range(1_000):
        score = random.random()
        if score < 0.4 and score < quantile.threshold:
            quantile.note(None, climbed=True)
            climbed.append(True)
        else:
            climbed += passed(quantile, [score])
    assert share(climbed[200:]) == pytest.approx(0.6, abs=0.03)
    assert quantile.threshold > 0.4


def test_the_first_of_all_may_be_ended_early() -> None:
    quantile = RunningQuantile(0.3)
    quantile.note(None, climbed=True)
    assert quantile.recent_rate == 1.0
    assert 0.0 <= quantile.threshold <= 1.0


def test_seeds_stand_in_for_the_first_scores_and_leave() -> None:
    quantile = RunningQuantile(0.5, spread([0.8, 1.0], 20))
    assert quantile.threshold == pytest.approx(0.9, abs=0.03)
    passed(quantile, [0.1 + 0.001 * number for number in range(WINDOW)])
    assert quantile.threshold < 0.4


def test_new_scores_take_the_place_of_the_window_and_the_debt_stays() -> None:
    quantile = RunningQuantile(0.5)
    passed(quantile, [0.2] * 50)
    quantile.reseed(spread([0.6, 0.8], WINDOW))
    assert quantile.threshold == pytest.approx(0.7, abs=0.04)


def test_equal_seeds_decide_equally() -> None:
    scores = [0.5] * 100
    assert passed(RunningQuantile(0.3, seed=7), scores) == passed(
        RunningQuantile(0.3, seed=7), scores
    )


def test_a_share_of_quantiles_is_spread_like_all_of_them() -> None:
    scores = spread([0.0, 0.5, 1.0], 15)
    assert np.mean(scores) == pytest.approx(0.5)
    assert np.mean(spread([0.0, 0.1, 1.0], 15)) == pytest.approx(0.3, abs=0.02)
    assert min(scores) > 0.0
    assert max(scores) < 1.0
