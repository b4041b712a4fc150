"""Gears give way while queues are long, come back when they are short, and keep the floor."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.config.routing_settings import GearsConfig, RoutingConfig
from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.controller.gearbox import Gearbox
from cascadia_sglang.controller.gears import (
    CALM_LOOKS,
    GearState,
    gear_table,
    pressure_of,
    shifted,
)
from cascadia_sglang.errors import ConfigError

share = st.floats(0.0, 1.0)


@given(st.lists(share, max_size=4), share, st.integers(1, 8))
def test_every_gear_accepts_no_less_than_the_one_before_and_none_is_below_the_floor(
    thresholds, floor, gears
):
    table = gear_table(thresholds, floor, gears)
    assert table[0] == tuple(thresholds)
    assert len(table) == gears + 1
    for before, after in itertools.pairwise(table):
        for high, low, threshold in zip(before, after, thresholds, strict=True):
            assert low <= high + 1e-12
            assert low >= min(threshold, floor) - 1e-12
    assert all(
        abs(last - min(threshold, floor)) < 1e-12
        for last, threshold in zip(table[-1], thresholds, strict=True)
    )


def test_the_gear_rises_at_once_and_falls_one_by_one_after_a_second_of_calm():
    lever = GearState()
    for expected in (1, 2, 2):
        lever = shifted(lever, 1.0, 2)
        assert lever.gear == expected
    falls = []
    for _ in range(2 * CALM_LOOKS):
        lever = shifted(lever, 0.5, 2)
        falls.append(lever.gear)
    assert falls == [2] * (CALM_LOOKS - 1) + [1] * CALM_LOOKS + [0]


def test_between_the_marks_it_stays_and_the_calm_begins_anew():
    lever = GearState(gear=1, calm=CALM_LOOKS - 1)
    lever = shifted(lever, 0.8, 4)
    assert lever == GearState(gear=1, calm=0)
    assert shifted(lever, 0.1, 4) == GearState(gear=1, calm=1)


def test_the_first_tiers_queue_is_no_pressure_as_no_threshold_relieves_it():
    assert pressure_of([[90, 90], [3, 5], [8]], 8) == 1.0
    assert pressure_of([[90], [], [2]], 8) == 0.25
    assert pressure_of([[90]], 8) == 0.0


class Router:
    def __init__(self) -> None:
        self.gear = 0
        self.thresholds: list[float] = []

    def set_thresholds(self, thresholds: list[float], gear: int) -> None:
        self.thresholds, self.gear = thresholds, gear


def test_the_router_has_the_gears_thresholds_and_a_new_plan_keeps_the_gear():
    gears = GearsConfig(enabled=True, floor=0.4, steps=2, queue=10)
    config = CascadeConfig(
        version=1,
        tiers=[TierConfig(name=name, model_path=name) for name in ("a", "b")],
        routing=RoutingConfig(thresholds=[0.8], gears=gears),
    )
    router, held = Router(), [[0], [10]]
    box = Gearbox(config, router, lambda: held)
    box.check()
    assert (router.gear, router.thresholds) == (1, pytest.approx([0.6]))
    assert box.thresholds == [0.8]
    box.set_thresholds([0.6])
    assert (box.thresholds, router.thresholds) == ([0.6], pytest.approx([0.5]))
    with pytest.raises(ConfigError):
        box.set_thresholds([0.6, 0.6])
    held[1] = [0]
    for _ in range(CALM_LOOKS):
        box.check()
    assert (router.gear, router.thresholds) == (0, [0.6])
