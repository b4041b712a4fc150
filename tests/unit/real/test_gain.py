"""How many answers must climb: the count against brute force, and the orders on made-up answers."""

import numpy as np
import pytest

from bench.real.climbs.costs import SYSTEMS, Outcome, joined_outcomes, outcomes
from bench.real.climbs.measures import MARGINS, measure, must_climb
from bench.real.climbs.ranks import RANKS, AnsweredQuestions, Case, case_of
from cascadia_sglang.calibration.record.pool import Pool, TierAnswers
from cascadia_sglang.judge.features import FEATURES


@pytest.mark.parametrize("seed", range(20))
def test_the_share_is_the_least_that_is_enough(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gain_N = rng.choice([-1.0, 0.0, 1.0], size=60, p=[0.1, 0.5, 0.4])
    rank_N = rng.permutation(60).astype(float)
    order = np.argsort(-rank_N)
    needed = gain_N.sum() - 0.05 * 60
    counts = [count for count in range(61) if gain_N[order[:count]].sum() >= needed]
    share = must_climb(rank_N, gain_N, 0.05)
    # Between two whole numbers of climbs, the last one may climb in part.
    assert counts[0] - 1 < 60 * share <= counts[0]


def test_answers_of_one_rank_climb_in_no_order() -> None:
    gain_N = np.array([1.0, 0.0, 1.0, 0.0])
    shares = [
        must_climb(np.zeros(4), gain_N[order], 0.25) for order in ([0, 1, 2, 3], [1, 3, 0, 2])
    ]
    assert shares == [0.5, 0.5]


def test_nothing_climbs_where_nothing_is_gained() -> None:
    assert must_climb(np.arange(4.0), np.array([0.0, -1.0, 0.0, 0.0]), 0.01) == 0.0


def answered_of(seed: int, count: int) -> AnsweredQuestions:
    """Prompts of two words: one that both tiers know, one that neither does; doubt says nothing."""
    rng = np.random.default_rng(seed)
    is_known_N = rng.random(count) < 0.5
    small_N = is_known_N & (rng.random(count) < 0.5)
    large_N = is_known_N & (rng.random(count) < 0.95)
    tiers = tuple(
        TierAnswers(
            features_NF=rng.normal(size=(count, len(FEATURES))), prefix_NF={}, right_N=right_N
        )
        for right_N in (small_N, large_N)
    )
    names = tuple(str(row) for row in range(count))
    return AnsweredQuestions(
        pool=Pool(
            tiers=tiers,
            ids=names,
            prompt_keys=names,
            groups=(None,) * count,
            constrained_N=np.zeros(count, dtype=bool),
        ),
        word_ids=tuple(
            (1, 7 if is_known else 8, int(rng.integers(100, 150))) for is_known in is_known_N
        ),
        kind_N=np.where(is_known_N, "known", "unknown"),
        small_N=small_N,
        large_N=large_N,
    )


@pytest.fixture(scope="module")
def case() -> Case:
    return case_of(answered_of(0, 250), answered_of(1, 400))


def test_gain_by_the_prompt_climbs_where_the_larger_tier_helps(case: Case) -> None:
    others = case.others
    ranks = {rule: RANKS[rule](case) for rule in RANKS}
    measured = measure("case", "group", ranks, others.small_N, others.large_N, resamples=100)
    result_by_rule = {result.rule: result for result in measured}
    wrong, helped = np.mean(~others.small_N), np.mean(others.large_N & ~others.small_N)
    needed = others.large_N.mean() - others.small_N.mean() - MARGINS[0]
    shares = {rule: result.value[0].p50 for rule, result in result_by_rule.items()}
    assert shares["knowing both answers"] == pytest.approx(needed)
    assert shares["judge that is never wrong"] == pytest.approx(wrong * needed / helped)
    # Half of the prompts are beyond both tiers, and the words say which.
    assert shares["gain by features and n-grams"] < 0.6
    assert shares["gain by kind alone"] < 0.55
    assert shares["gain by features"] > 0.8
    assert shares["score"] > 0.8
    baseline = result_by_rule["score"].ratios["score"][0]
    assert (baseline.p50, baseline.low95, baseline.high95) == (1.0, 1.0, 1.0)
    assert result_by_rule["gain by features and n-grams"].ratios["score"][0].high95 < 0.8


def test_the_least_cost_is_that_of_a_setting_that_reaches_the_accuracy() -> None:
    outcome = Outcome(
        right_SN=np.array([[False, True, False], [True, True, False], [True, True, True]]),
        cost_SN=np.array([[1.0, 1.0, 1.0], [3.0, 1.0, 1.0], [3.0, 3.0, 3.0]]),
    )
    once_N = np.ones(3)
    assert outcome.least_cost(0.3, once_N) == 1.0
    assert outcome.least_cost(0.6, once_N) == pytest.approx(5 / 3)
    assert outcome.least_cost(0.9, once_N) == 3.0
    # The second question counts for nothing, and the third twice.
    assert outcome.least_cost(0.6, np.array([1.0, 0.0, 2.0])) == 3.0
    joined = joined_outcomes([dict.fromkeys(SYSTEMS, outcome)] * 2)
    assert joined["thresholds"].right_SN.shape == (3, 6)


def test_costs_of_systems_on_prompts_that_no_tier_answers(case: Case) -> None:
    large_cost = 4.0
    others = case.others
    systems = outcomes(case, large_cost)
    assert set(systems) == set(SYSTEMS)
    alone = systems["the larger tier alone"]
    assert (alone.cost_SN == large_cost).all()
    for name, outcome in systems.items():
        # Every answer is one of the two that were recorded, at the cost of how it came to be.
        is_large_SN = outcome.cost_SN >= large_cost
        right_SN = np.where(is_large_SN, others.large_N, others.small_N)
        assert (outcome.right_SN == right_SN).all(), name
        assert set(np.unique(outcome.cost_SN)) <= {1.0, large_cost, 1.0 + large_cost}, name
    needed, once_N = float(others.large_N.mean()) - 0.01, np.ones(400)
    costs = {name: outcome.least_cost(needed, once_N) for name, outcome in systems.items()}
    # Half of the prompts are beyond both tiers: none of them has to see the larger one.
    assert costs["gain of prompts"] < 0.7 * large_cost
    assert costs["gain of prompts and answers"] < 0.7 * large_cost
    assert costs["thresholds"] > large_cost
