"""The goodput of an arm, from what it attained at a few scales."""

import numpy as np
import pytest

from bench.reallocation.phases import EASY, HARD, Phase
from bench.rivals.shift.report import Run, ShiftResult, goodputs, highest_scale, resampled

PHASES = (
    Phase(families=EASY, rate_per_s=10.0, seconds=20.0),
    Phase(families=HARD, rate_per_s=10.0, seconds=40.0),
)


def run(late: float, seed: int = 0) -> Run:
    """Ten requests a second for a minute, so many of them late in the second phase."""
    at_s = np.arange(600) / 10.0
    is_late = (at_s >= 20.0) & (np.random.default_rng(seed).random(600) < late)
    return Run(
        at_s=at_s,
        seconds=np.where(is_late, 20.0, 1.0),
        in_time=~is_late,
        right=np.ones(600, dtype=bool),
        failed=0,
        moves=0,
        shifts=0,
    )


def test_the_highest_scale_lies_between_those_that_were_run():
    assert highest_scale((0.6, 0.8, 1.0), (1.0, 0.97, 0.93), 0.95) == pytest.approx(0.9)
    assert highest_scale((0.6, 0.8, 1.0), (1.0, 1.0, 1.0), 0.95) == 1.0
    assert highest_scale((0.6, 0.8), (0.76, 0.5), 0.95) == pytest.approx(0.48)
    # What is attained again further up does not count.
    assert highest_scale((0.6, 0.8, 1.0), (1.0, 0.9, 0.99), 0.95) == pytest.approx(0.7)


def test_blocks_are_drawn_within_their_phase():
    shares = resampled(run(late=0.0), PHASES, np.random.default_rng(0))
    assert set(shares.tolist()) == {1.0}
    late_run = run(late=1.0)
    assert late_run.attained == pytest.approx(1 / 3)
    # Drawn from all blocks alike the share would vary.
    assert set(resampled(late_run, PHASES, np.random.default_rng(0)).tolist()) == {1 / 3}


def test_the_ratio_is_that_of_the_first_arm_to_the_second():
    outcome = ShiftResult(
        phases=PHASES,
        scales=(0.6, 0.8),
        slo_s=10.0,
        floor=0.97,
        fixed={2: 0.7},
        moved=1.0,
        runs={"Cascadia": [run(0.0), run(0.0)], "rival": [run(0.0), run(0.15)]},
    )
    values, ratio = goodputs(outcome)
    assert values["Cascadia"].p50 == 0.8
    assert 0.6 < values["rival"].p50 < 0.8
    assert ratio.p50 == pytest.approx(0.8 / values["rival"].p50)
    assert ratio.low95 <= ratio.p50 <= ratio.high95
