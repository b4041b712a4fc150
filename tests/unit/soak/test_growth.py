"""Slopes per 1,000 requests, and their intervals."""

import random

import pytest

from bench.soak.growth import WARM_UP, increments, slope


def samples(count: int, per_1000: float, noise: float = 0.0) -> list[tuple[int, float]]:
    rng = random.Random(1)
    return [
        (n, 100 + per_1000 * n / 1000 + rng.uniform(-noise, noise)) for n in range(0, count, 10)
    ]


def test_a_straight_line_has_its_slope_and_no_interval() -> None:
    grown = slope(increments(samples(5_000, 2.0)))
    assert grown is not None
    assert grown.p50 == pytest.approx(2.0)
    assert grown.low95 == pytest.approx(2.0)
    assert grown.n == 10 - WARM_UP - 1


def test_the_interval_of_noise_holds_zero_and_that_of_a_leak_does_not() -> None:
    flat = slope(increments(samples(20_000, 0.0, noise=3.0)))
    leak = slope(increments(samples(20_000, 2.0, noise=3.0)))
    assert flat is not None
    assert leak is not None
    assert flat.low95 < 0 < flat.high95
    assert leak.low95 > 0


def test_what_fills_at_first_is_left_out() -> None:
    filling = [(n, min(n, 2 * 500) / 1.0) for n in range(0, 5_000, 10)]
    assert increments(filling) == [0.0] * (10 - WARM_UP - 1)


def test_a_short_life_says_nothing() -> None:
    assert increments([]) == []
    assert increments(samples(1_200, 1.0)) == []
    assert slope([1.0]) is None
