"""Changes are found where there are some, and hardly ever where there are none."""

import numpy as np
import pytest

from cascadia_sglang.controller.monitor import Monitor, RecordedRequest, RecordedVisit, Timing
from cascadia_sglang.controller.traffic_change import (
    ALPHA,
    Span,
    dispersion,
    distribution_bound,
    rate_bound,
)

RATE_PER_S = 0.8
RUNS = 200


def feed(
    monitor: Monitor,
    rng: np.random.Generator,
    start_s: float,
    seconds: float,
    rate: float,
    *,
    worse: float = 0.0,
    longer: float = 1.0,
) -> None:
    """Poisson arrivals with lognormal lengths and scores of a beta distribution."""
    count = rng.poisson(rate * seconds)
    at = np.sort(rng.uniform(start_s, start_s + seconds, count)).tolist()
    inputs = np.ceil(longer * rng.lognormal(4.0, 0.6, count)).tolist()
    outputs = np.ceil(longer * rng.lognormal(3.0, 0.8, count)).tolist()
    scores = np.clip(rng.beta(4.0, 1.5, count) - worse, 0.0, 1.0).tolist()
    for at_s, given, written, score in zip(at, inputs, outputs, scores, strict=True):
        visit = RecordedVisit(
            tier_index=0,
            score=score,
            output_tokens=written,
            seconds=1.0,
            prompt_tokens=given,
            cached_tokens=0,
        )
        monitor.arrived(at_s)
        monitor.add(RecordedRequest(at_s=at_s, seconds=1.0, input_tokens=given, visits=(visit,)))


def test_stationary_half_hours_raise_no_more_alarms_than_is_stated():
    """Every look of 200 half hours; at most the stated rate and two standard errors of it."""
    alarms = 0
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        timing = Timing(look_s=60.0, recent_s=(60.0, 180.0))
        monitor = Monitor(timing, 0.0)
        feed(monitor, rng, 0.0, 1800.0, RATE_PER_S)
        # While the reference grows, and after.
        looks = np.arange(timing.look_s, 1800.0 + timing.look_s, timing.look_s)
        alarms += any(monitor.check(now) for now in looks)
    assert alarms / RUNS <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5


@pytest.mark.parametrize(
    ("changed", "quantity"),
    [
        ({"rate": 4.0}, "rate"),
        ({"rate": 2.0, "worse": 0.3}, "score"),
        ({"rate": 2.0, "longer": 1.8}, "input_tokens"),
    ],
)
def test_a_change_is_found_within_three_minutes_and_named(changed, quantity):
    late = 0
    for run in range(20):
        rng = np.random.default_rng(run)
        monitor = Monitor(Timing(), 0.0)
        feed(monitor, rng, 0.0, 600.0, 2.0)
        feed(monitor, rng, 600.0, 180.0, **changed)
        assert monitor.check(600.0) == []
        changes_by_check = [monitor.check(600.0 + seconds) for seconds in range(30, 181, 30)]
        named = [{change.quantity for change in changes} for changes in changes_by_check]
        late += not any(quantity in quantities for quantities in named)
    assert late <= 1


def test_after_a_plan_its_traffic_is_the_reference():
    rng = np.random.default_rng(0)
    monitor = Monitor(Timing(), 0.0)
    feed(monitor, rng, 0.0, 400.0, 1.0)
    feed(monitor, rng, 400.0, 800.0, 3.0)
    assert [change.quantity for change in monitor.check(500.0)] == ["rate"]
    monitor.renew(500.0)
    assert [monitor.check(now) for now in (501.0, 830.0, 1000.0, 1190.0)] == [[], [], [], []]


def test_a_change_right_after_a_plan_is_found():
    """The reference is what the plan was made for, not what came once it was in force."""
    rng = np.random.default_rng(4)
    monitor = Monitor(Timing(look_s=5.0, reference_s=50.0, recent_s=(5.0, 10.0, 25.0)), 0.0)
    feed(monitor, rng, 0.0, 60.0, 6.0)
    feed(monitor, rng, 60.0, 15.0, 6.0, worse=0.4)
    monitor.renew(45.0)
    assert monitor.check(58.0) == []
    assert "score" in {change.quantity for change in monitor.check(70.0)}


def test_bursts_that_were_always_there_are_no_change_of_the_rate():
    """Requests in groups of six: a Poisson process of groups, six times as dispersed."""
    rng = np.random.default_rng(1)
    false = 0
    for _ in range(100):
        groups = np.sort(rng.uniform(0.0, 600.0, rng.poisson(200)))
        at = np.repeat(groups, 6)
        reference = Span(start_s=0.0, end_s=400.0, arrivals_s_N=at[at < 400.0], values={})
        recent = Span(start_s=400.0, end_s=600.0, arrivals_s_N=at[at >= 400.0], values={})
        assert dispersion(reference) > 3.0
        false += rate_bound(reference, recent) < 0.05
    assert false <= 5


def test_the_bounds_hold_where_nothing_differs_and_fall_where_something_does():
    rng = np.random.default_rng(2)
    same = [distribution_bound(rng.normal(size=80), rng.normal(size=40)) for _ in range(500)]
    assert np.mean(np.array(same) <= 0.05) <= 0.05
    assert distribution_bound(rng.normal(size=200), rng.normal(1.0, size=200)) < 1e-6
    still = Span(start_s=0.0, end_s=10.0, arrivals_s_N=np.empty(0), values={})
    assert rate_bound(still, still) == 1.0


def test_answers_that_the_judge_ended_count_as_little_score():
    """Where hard prompts come, most are ended early; without them nothing would seem to change."""
    rng = np.random.default_rng(3)
    monitor = Monitor(Timing(look_s=5.0, reference_s=50.0, recent_s=(5.0, 10.0, 25.0)), 0.0)
    feed(monitor, rng, 0.0, 75.0, 4.0)
    assert monitor.check(75.0) == []
    for number in range(40):
        is_ended = number % 2 == 0
        visit = RecordedVisit(
            tier_index=0,
            score=None if is_ended else float(rng.beta(4.0, 1.5)),
            output_tokens=20,
            seconds=1.0,
            prompt_tokens=60,
            cached_tokens=0,
            ended_early=is_ended,
        )
        at_s = 75.0 + number / 4.0
        monitor.arrived(at_s)
        monitor.add(RecordedRequest(at_s=at_s, seconds=1.0, input_tokens=60, visits=(visit,)))
    assert "score" in {change.quantity for change in monitor.check(85.0)}
