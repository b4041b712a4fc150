"""What is planned for a shifting trace, on answers made up for it."""

import numpy as np
import pytest

from bench.reallocation.phases import EASY, HARD, Phase
from bench.rivals.shift.gear_plan import Cluster, PromptAnswers, highest, lowest_threshold, scaled
from cascadia_sglang.planner.speed.profile import EngineLimits, Profile, StepTimes

LIMITS = EngineLimits(kv_tokens=16_384, max_running_requests=1, is_blocking=True)
TIMES = StepTimes(decode_ms=[(1, 50.0)], prefill_ms=[(1000, 50.0)])


def mix(score: float, right: bool) -> PromptAnswers:
    """Alike prompts: answers of two tokens, the large tier's always right."""
    count = 10
    return PromptAnswers(
        score_N=np.full(count, score),
        right_NT=np.tile(np.array([right, True]), (count, 1)),
        tokens_NT=np.full((count, 2), 2),
        input_tokens_N=np.full(count, 10),
    )


CLUSTER = Cluster(
    profile=Profile(
        version=1,
        device="made up",
        tiers={"small": TIMES, "large": TIMES},
        limits={"small": LIMITS, "large": LIMITS},
    ),
    devices=4,
    answers={EASY: mix(0.9, right=True), HARD: mix(0.3, right=False)},
    slo_s=5.0,
)


def test_the_lowest_threshold_is_the_one_that_still_keeps_the_floor():
    easy, hard = CLUSTER.answers[EASY], CLUSTER.answers[HARD]
    assert lowest_threshold([easy, hard], 0.5) == 0.0
    assert 0.3 < lowest_threshold([easy, hard], 0.9) <= 0.9


def test_a_split_carries_what_its_slower_tier_does():
    # A request takes 0.15 s: a prefill and two steps.
    with_one, with_three = (CLUSTER.most_per_s(EASY, split, 0.5) for split in (1, 3))
    assert with_one == pytest.approx(1 / 0.15, rel=0.2)
    assert with_three == pytest.approx(3 * with_one, rel=0.2)
    # All of these climb.
    assert CLUSTER.most_per_s(HARD, 3, 0.5) == pytest.approx(with_one, rel=0.2)


def test_gears_that_climb_less_are_for_higher_rates():
    first, last = CLUSTER.gears(HARD, 3, [0.5, 0.1])
    assert (first.threshold, last.threshold) == (0.5, 0.1)
    assert last.most_per_s == pytest.approx(3 * first.most_per_s, rel=0.2)


def test_where_phases_want_other_splits_moving_carries_more_than_any_fixed_one():
    phases = [
        Phase(families=EASY, rate_per_s=30.0, seconds=60.0),
        Phase(families=HARD, rate_per_s=13.0, seconds=60.0),
    ]
    best, rates = CLUSTER.best_split(phases, 0.5)
    assert best == max(rates, key=lambda split: rates[split])
    moved = CLUSTER.most_of(phases, (3, 2), 0.5)
    assert moved > 1.15 * rates[best]


def test_scaled_phases_keep_their_lengths():
    (phase,) = scaled([Phase(families=EASY, rate_per_s=3.0, seconds=60.0)], 2.0)
    assert (phase.rate_per_s, phase.seconds) == (6.0, 60.0)


def test_the_highest_number_is_found_and_nowhere_is_the_lowest():
    assert highest(lambda x: x <= 3.0, 0.0, 8.0) == pytest.approx(3.0, abs=0.01)
    assert highest(lambda _: False, 0.5, 8.0) == 0.5
