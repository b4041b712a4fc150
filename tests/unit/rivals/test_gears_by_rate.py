"""The rival's controller: gears by the measured rate, kept while requests wait."""

import pytest

from bench.rivals.shift.gears_by_rate import Gear, RateMeter, arrived, chosen, queued

GEARS = [
    Gear(threshold=0.9, most_per_s=4.0),
    Gear(threshold=0.8, most_per_s=6.0),
    Gear(threshold=0.7, most_per_s=8.0),
]


@pytest.mark.parametrize(
    ("rate_per_s", "gear"), [(0.0, 0), (4.0, 0), (4.1, 1), (6.0, 1), (7.0, 2), (80.0, 2)]
)
def test_the_most_accurate_gear_that_carries_the_rate_is_in_force(rate_per_s, gear):
    assert chosen(GEARS, 0, rate_per_s, queued=0) == gear


def test_a_gear_is_kept_while_the_rate_is_below_eight_times_the_queue():
    assert chosen(GEARS, 2, 3.0, queued=1) == 2
    assert chosen(GEARS, 2, 3.0, queued=0) == 0
    # A gear that accepts more is taken whatever waits.
    assert chosen(GEARS, 0, 7.0, queued=100) == 2


def test_the_rate_is_that_of_the_last_two_seconds():
    meter = RateMeter(span_s=2.0)
    assert meter.rate_per_s(0.0, 100) == 0.0
    assert meter.rate_per_s(1.0, 110) == pytest.approx(10.0)
    assert meter.rate_per_s(2.0, 110) == pytest.approx(5.0)
    assert meter.rate_per_s(3.0, 150) == pytest.approx(20.0)
    # A look that is late counts for the time that it took.
    assert meter.rate_per_s(13.0, 160) == pytest.approx(1.0)


def test_arrivals_are_those_answered_and_those_under_way_and_what_waits_is_beyond_a_full_batch():
    status = {
        "tiers": [{"answered": 7}, {"answered": 3}],
        "active": 5,
        "workers": [
            {"tiers": ["small"], "running": 9},
            {"tiers": ["small"], "running": 2},
            {"tiers": ["large"], "running": 6},
        ],
    }
    assert arrived(status) == 15
    assert queued(status, {"small": 8, "large": 4}) == 1 + 2
