"""How long a start is expected to take."""

from types import SimpleNamespace

import pytest

from cascadia_sglang.fleet.start_times import FIRST_START_S, StartTimes, Way
from cascadia_sglang.metrics.counters import Metrics
from cascadia_sglang.pool.pool import Worker


def test_every_pool_has_its_own_time_and_the_newest_counts() -> None:
    times = StartTimes(("small", "large"), Metrics(()))
    times.note("small", Way.COLD, 40.0)
    times.note("large", Way.COLD, 240.0)
    times.note("large", Way.COLD, 200.0)
    assert times.expected_s("small", Way.COLD) == 40.0
    assert times.expected_s("large", Way.COLD) == 200.0
    assert times.cold_s() == {"small": 40.0, "large": 200.0}


@pytest.mark.parametrize("way", Way)
def test_a_way_not_gone_yet_counts_as_a_cold_start(way: Way) -> None:
    times = StartTimes(("small", "large"), Metrics(()))
    assert times.expected_s("small", way) == FIRST_START_S
    times.note("small", Way.COLD, 40.0)
    assert times.expected_s("small", way) == 40.0


def test_a_standby_that_was_taken_says_nothing_of_a_cold_start() -> None:
    times = StartTimes(("small", "large"), Metrics(()))
    times.note("small", Way.COLD, 40.0)
    times.note("small", Way.STANDBY, 0.2)
    assert times.expected_s("small", Way.COLD) == 40.0
    assert times.expected_s("small", Way.STANDBY) == 0.2


def test_a_worker_that_has_started_tells_it_by_its_phases() -> None:
    times = StartTimes(("small",), Metrics(()))
    pool = SimpleNamespace(name="small")
    handle = SimpleNamespace(pool=pool, phases={"process": 12.0, "weights": 20.0, "graphs": 8.5})
    times.started(Worker(worker_id="small-0", tiers=(0,), handle=handle))
    assert times.cold_s() == {"small": 40.5}
