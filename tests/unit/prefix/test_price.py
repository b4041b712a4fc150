"""Seconds of an attempt, the price of a tier, and the chance that a prefix is wanted."""

import dataclasses
import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.prefix.price import WorkerOffer, attempt_s, cheapest, entry_prices
from cascadia_sglang.prefix.reuse import Share, is_worth_warming, wanted_chance
from cascadia_sglang.prefix.speed import PublishedLoad, Speed, SpeedMeter

SPEED = Speed(prefill_s=0.001, step_s=0.01, step_s_per_request=0.001)


def load(**changes) -> PublishedLoad:
    values = {
        "at_s": 0.0,
        "running": 0,
        "waiting": 0,
        "waiting_tokens": 0,
        "max_running": 8,
        "prefilled_tokens": 0,
        "prefill_us": 0,
    }
    return PublishedLoad(**{**values, **changes})


def test_an_attempt_pays_for_what_is_not_cached_and_for_what_is_ahead() -> None:
    idle = WorkerOffer(cached_tokens=0, attempts=0, load=load())
    assert attempt_s(idle, 500, 10, SPEED) == pytest.approx(0.5 + 10 * 0.011)
    cached = WorkerOffer(cached_tokens=400, attempts=0, load=load())
    assert attempt_s(cached, 500, 10, SPEED) == pytest.approx(0.1 + 10 * 0.011)
    behind = WorkerOffer(
        cached_tokens=400, attempts=3, unseen_tokens=50, load=load(waiting_tokens=250)
    )
    assert attempt_s(behind, 500, 10, SPEED) == pytest.approx(0.4 + 10 * 0.014)


def test_a_step_that_gives_several_tokens_makes_an_answer_cheaper() -> None:
    idle = WorkerOffer(cached_tokens=0, attempts=0, load=load())
    faster = dataclasses.replace(SPEED, tokens_per_step=4.0)
    assert attempt_s(idle, 500, 10, faster) == pytest.approx(0.5 + 2.5 * 0.011)


def test_where_no_place_is_free_it_waits_for_one() -> None:
    full = WorkerOffer(cached_tokens=0, attempts=12, load=load(max_running=4))
    # Nine more than there are places: two and a quarter batches before its own.
    assert attempt_s(full, 0, 10, SPEED) == pytest.approx((1 + 9 / 4) * 10 * 0.014)


def test_a_cached_prefix_wins_until_its_worker_is_busier_than_it_saves() -> None:
    for attempts, expected in ((0, 1), (20, 1), (80, 0)):
        offers = [
            WorkerOffer(cached_tokens=0, attempts=0, load=load(max_running=100)),
            WorkerOffer(cached_tokens=480, attempts=attempts, load=load(max_running=100)),
        ]
        assert cheapest(offers, 500, 10, SPEED) == expected


def test_of_equal_offers_the_one_with_fewer_attempts_is_taken() -> None:
    nothing_decodes = Speed(prefill_s=0.001, step_s=0.0, step_s_per_request=0.0)
    offers = [WorkerOffer(cached_tokens=0, attempts=n) for n in (2, 1, 1)]
    assert cheapest(offers, 100, 10, nothing_decodes) == 1


@given(st.lists(st.tuples(st.floats(0.01, 10.0), st.floats(0.0, 1.0)), min_size=1, max_size=5))
def test_a_price_is_the_mean_over_all_ways_up(tiers: list[tuple[float, float]]) -> None:
    seconds, accepted = [tier[0] for tier in tiers], [tier[1] for tier in tiers[:-1]]
    prices = entry_prices(seconds, accepted)
    for entry in range(len(tiers)):
        mean = 0.0
        for last in range(entry, len(tiers)):
            chance = float(np.prod([1.0 - accepted[tier] for tier in range(entry, last)]))
            if last < len(tiers) - 1:
                chance *= accepted[last]
            mean += chance * sum(seconds[entry : last + 1])
        assert prices[entry] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("now", "later", "returns"),
    list(itertools.product((0.0, 0.3, 1.0), (0.1, 0.6), (0.0, 0.5, 0.9))),
)
def test_the_chance_that_a_prefix_is_wanted_is_that_of_a_simulation(now, later, returns) -> None:
    rng = random.Random(7)
    wanted_count = 0
    for _ in range(20_000):
        is_wanted = rng.random() < now
        while not is_wanted and rng.random() < returns:
            is_wanted = rng.random() < later
        wanted_count += is_wanted
    assert wanted_chance(now, later, returns) == pytest.approx(wanted_count / 20_000, abs=0.015)


def test_busy_workers_ask_for_surer_prefixes() -> None:
    assert is_worth_warming(0.6, 0)
    assert not is_worth_warming(0.5, 0)
    assert not is_worth_warming(0.6, 1)
    assert is_worth_warming(0.95, 10)


def test_a_share_begins_with_its_prior_and_follows_a_turn() -> None:
    share = Share(0.5, memory=100.0)
    assert share.value == 0.5
    for number in range(400):
        share.add(number % 10 == 0)
    assert share.value == pytest.approx(0.1, abs=0.03)
    for _ in range(300):
        share.add(True)
    assert share.value > 0.9


def test_the_meter_finds_the_speed_behind_the_counters() -> None:
    """Prefills of a fixed cost and one a token, decode steps that grow with their batch."""
    rng = np.random.default_rng(0)
    meter = SpeedMeter()
    assert meter.speed() is None
    tokens = micros = 0
    moments = np.zeros(6)
    for number in range(200):
        new = int(rng.integers(1, 2000))
        tokens, micros = tokens + new, micros + 500 + 100 * new
        batch = float(rng.integers(1, 32))
        step = 8000.0 + 250.0 * batch
        moments += (1.0, batch, step, batch * batch, batch * step, 2.5 * batch)
        worker_load = load(
            at_s=float(number),
            prefilled_tokens=tokens,
            prefill_us=micros,
            decode_moments=tuple(moments.tolist()),
        )
        meter.observe("w", worker_load)
        meter.observe("w", worker_load)  # the same again says nothing new
    speed = meter.speed()
    assert speed is not None
    assert speed.prefill_s == pytest.approx(100e-6, rel=0.01)
    assert speed.tokens_per_step == pytest.approx(2.5)
    assert speed.token_s(1) == pytest.approx(8250e-6 / 2.5, rel=1e-6)
    assert speed.token_s(30) == pytest.approx(15500e-6 / 2.5, rel=1e-6)


def test_a_worker_that_starts_anew_counts_anew() -> None:
    meter = SpeedMeter()
    meter.observe("w", load(prefilled_tokens=1000, prefill_us=100_000))
    meter.observe("w", load(prefilled_tokens=10, prefill_us=1_000))
    speed = meter.speed()
    assert speed is not None
    assert speed.prefill_s == pytest.approx(1e-4)
