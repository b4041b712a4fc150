"""The least SLO scale, and the curves, against what they are defined as."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bench.harness.rows import Facts, make_row, save_rows
from bench.rivals.page import page
from bench.rivals.picture import attainment, settings
from bench.rivals.report import (
    ATTAINED,
    CEILING,
    CURVE,
    OPEN,
    attained,
    beside,
    closed,
    discarded,
    estimates,
    quantiles,
    relations,
    set_to,
)
from bench.rivals.serving import FIGURES
from bench.rivals.system import PlayedRound, System
from bench.rivals.workloads import MIXED

UNIT_MS = 200.0
LOAD = OPEN[1]


def played(slow: float, seed: int, right: float = 0.75) -> PlayedRound:
    """400 requests, exponential latencies of 100 ms times `slow`; a fifth of the tokens is lost."""
    latencies_ms = slow * 100 * np.random.default_rng(seed).exponential(size=400)
    return PlayedRound(
        right=[float(i < 400 * right) for i in range(400)],
        latencies_ms=latencies_ms.tolist(),
        first_ms=(latencies_ms / 2).tolist(),
        requests_per_s=10.0 / slow,
        cpu_s={"front": 0.004, "small": 0.006 * slow},
        answered_tokens=800,
        generated_tokens=1000,
    )


def system(name: str, slow: float = 1.0) -> System:
    """Three rounds of a closed and of an open loop, and one at each of two settings."""
    rounds = [played(slow, seed) for seed in range(3)]
    return System(
        name=name,
        port=0,
        pids=[],
        settings={"a": {}, "b": {}},
        rounds={
            closed(MIXED): rounds,
            LOAD.case: rounds,
            set_to("a"): [played(2 * slow, 7, right=0.9)],
            set_to("b"): [played(slow, 8)],
        },
    )


def rows(folder: Path, *systems: System) -> list[dict[str, str]]:
    """What the bench would write of them, read again."""
    facts = Facts(**{field.name: "" for field in dataclasses.fields(Facts)})
    made = [
        make_row(
            facts,
            bench="rivals",
            case=f"cascade.yaml, {case}",
            variant=variant,
            metric=metric,
            unit=unit,
            value=value,
        )
        for variant, case, metric, unit, value in (
            *(
                (measured_system.name, *estimate)
                for measured_system in systems
                for estimate in estimates(measured_system, UNIT_MS)
            ),
            *relations(systems),
        )
    ]
    save_rows(folder / "rivals.csv", made)
    with (folder / "rivals.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_within_the_scale_are_the_requests_that_it_promises_and_within_less_are_fewer():
    rounds = system("one").rounds[LOAD.case]
    for p95, arm_round in zip(quantiles(rounds, ATTAINED), rounds, strict=True):
        times = np.array(arm_round.latencies_ms)
        assert np.mean(times <= p95) == pytest.approx(ATTAINED, abs=1 / 400)
        assert np.mean(times <= 0.9 * p95) < ATTAINED


def test_attainment_follows_the_distribution_of_latencies():
    for scale in CURVE:
        share = 1 - np.exp(-scale * UNIT_MS / 100)
        within = attained(system("one").rounds[LOAD.case], scale, UNIT_MS)
        assert within.p50 == pytest.approx(share, abs=0.05)


def test_a_system_that_takes_three_times_as_long_needs_three_times_the_scale():
    estimate_by_key = {
        (variant, case, metric): value
        for variant, case, metric, _, value in relations([system("one"), system("slow", 3.0)])
    }
    assert estimate_by_key["one / slow", LOAD.case, "SLO scale"].p50 == pytest.approx(1 / 3)
    assert estimate_by_key["one / slow", closed(MIXED), "requests per second"].p50 == pytest.approx(
        3.0
    )
    assert estimate_by_key["one / slow", closed(MIXED), "CPU a request"].p50 == pytest.approx(
        10 / 22
    )
    assert estimate_by_key["one - slow", closed(MIXED), "accuracy"].p50 == 0.0


def test_a_system_that_played_fewer_rounds_is_paired_with_those_of_the_same_number() -> None:
    one, once = system("one"), system("once")
    once.rounds = {closed(MIXED): [played(2.0, 0, right=0.5)]}
    ratio, cpu, accuracy = [value for *_, value in beside([one, once])]
    # Of one pair nobody knows how much it varies.
    assert (ratio.p50, ratio.n, ratio.low95) == (pytest.approx(2.0), 1, None)
    assert (cpu.n, cpu.low95) == (1, None)
    assert (accuracy.p50, accuracy.n) == (pytest.approx(0.25), 400)


def test_the_ceiling_is_of_tiers_that_each_take_what_the_smaller_ones_get_wrong():
    tiers = [system("small alone"), system("large alone", 4.0)]
    estimate_by_key = {
        (variant, metric): value
        for variant, _, metric, _, value in relations([system("one", 2.0), *tiers])
    }
    # The small tier answers every question at 10/s; the quarter it gets wrong goes on, at 2.5/s.
    assert estimate_by_key[CEILING, "requests per second"].p50 == pytest.approx(
        1 / (1 / 10 + 0.25 / 2.5)
    )
    assert estimate_by_key[CEILING, "accuracy"].p50 == 0.75
    assert estimate_by_key[f"one / {CEILING}", "requests per second"].p50 == pytest.approx(1.0)


def test_discarded_are_the_tokens_that_no_client_was_given():
    assert discarded(system("one").rounds[LOAD.case]).p50 == pytest.approx(0.2)


def test_the_pictures_draw_what_the_rows_hold_and_only_of_their_case(tmp_path):
    written = rows(tmp_path, system("one"), system("large alone", 3.0))
    curves = attainment(written, LOAD.case)
    assert list(curves) == ["one", "large alone"]
    assert [scale for scale, _ in curves["one"]] == pytest.approx(CURVE, abs=1e-3)
    shares = [share for _, share in curves["one"]]
    assert shares == sorted(shares)
    assert attainment(written, OPEN[-1].case) == {}
    (faster, slower) = settings(written)["one"]
    assert faster == pytest.approx((100, 0.75), rel=0.15)
    assert slower == pytest.approx((200, 0.9), rel=0.15)
    assert len(settings(written)["large alone"]) == 3
    assert list(settings(written)) == ["one", "large alone"]


def test_the_page_has_a_row_for_every_system_in_each_table_of_systems():
    less = system("small alone")
    less.is_rival = False
    served = {"slow": [dict.fromkeys(FIGURES, value) for value in (7.0, 2.0, 3.0)]}
    text = page([system("one"), system("slow", 3.0), less], 20.0, UNIT_MS, served)
    assert text.count("\n| slow |") == 5
    assert text.count("\n| small alone |") == 3
    assert "| slow | 3.0 | 3.0 |" in text
    assert "| slow | 4.0 | 18.0 |" in text
    assert "| 12.0/s, 60%, Poisson arrivals |" in text
