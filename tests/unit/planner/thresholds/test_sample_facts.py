"""Intervals of a plan's quality and shares, against coverage and against known bounds."""

import numpy as np
import pytest

from cascadia_sglang.planner.thresholds.replay import Sample, build_sample
from cascadia_sglang.planner.thresholds.sample_facts import interval, sample_facts
from tests.unit.planner.samples import rows


def test_intervals_hold_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for weights in (np.ones(60), rng.uniform(0.5, 2.0, 60)):
        held = 0
        for _ in range(400):
            bounds = interval((rng.random(60) < 0.8).astype(float), weights)
            held += bounds.low <= 0.8 <= bounds.high
        assert held >= 0.93 * 400


def test_right_and_wrong_answers_have_the_exact_interval():
    """Clopper and Pearson's of 9 in 10, as tables give it."""
    bounds = interval(np.array([1.0] * 9 + [0.0]), np.ones(10))
    assert (bounds.low, bounds.high) == pytest.approx((0.5550, 0.9975), abs=1e-4)


@pytest.mark.parametrize("number", [1, 2, 5, 400])
def test_however_few_rows_there_are_they_say_what_they_can(number):
    sample = build_sample(rows(number, 0, 3))
    facts = sample_facts(sample, [0.5, 0.7])
    assert facts.rows == number
    assert len(facts.shares) == 3
    assert facts.shares[0].low == facts.shares[0].high == 1.0
    for fact in (facts.quality, *facts.shares):
        assert 0.0 <= fact.low <= fact.high <= 1.0
    # As many rows without a wrong answer certify so much: 200 certify 98.5 %.
    assert facts.certifiable == pytest.approx(
        {1: 0.0, 2: 0.05, 5: 0.05**0.5, 400: 0.985}[number], abs=1e-3
    )


def test_more_rows_know_more():
    few, many = (
        sample_facts(build_sample(rows(number, 0, 2)), [0.5]).quality for number in (20, 2000)
    )
    assert many.high - many.low < 0.2 * (few.high - few.low)


def test_a_row_that_counts_for_many_is_one_row():
    sample = Sample(
        scores_NS=np.array([[0.9], [0.1]]),
        correct_NT=np.array([[1.0, 1.0], [0.0, 1.0]]),
        weight_N=np.array([100.0, 1.0]),
        prompt_N=np.arange(2),
    )
    quality = sample_facts(sample, [0.5]).quality
    assert quality.low == 0.0
