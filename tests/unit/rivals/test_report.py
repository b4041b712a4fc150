"""The least SLO scale, and the curve of attainment, against what they are defined as."""

import csv
import dataclasses

import numpy as np
import pytest

from bench.harness.rows import Facts, make_row, save_rows
from bench.rivals.picture import curves
from bench.rivals.report import (
    ATTAINED,
    CURVE,
    attained,
    estimates,
    opened,
    page,
    relations,
    scales,
)
from bench.rivals.systems import System

UNIT_MS = 200.0


def system(name: str, slow: float = 1.0) -> System:
    """Three rounds of 400 requests, exponential latencies of 100 ms times `slow`."""
    draw = np.random.default_rng(7)
    rounds = [(slow * 100 * draw.exponential(size=400)).tolist() for _ in range(3)]
    return System(
        name=name,
        port=0,
        pids=[],
        right=[1.0, 0.0, 1.0],
        requests_per_s=[10.0 / slow] * 3,
        p50_ms=[70.0] * 3,
        p95_ms=[300.0] * 3,
        cpu_s=[0.01 * slow] * 3,
        main_cpu_s=[0.004] * 3,
        due_ms={0.6: rounds},
    )


def test_within_the_scale_are_the_requests_that_it_promises_and_within_less_are_fewer():
    one = system("one")
    for scale, times in zip(scales(one, 0.6, UNIT_MS), one.due_ms[0.6], strict=True):
        assert np.mean(np.array(times) <= scale * UNIT_MS) == pytest.approx(ATTAINED, abs=1 / 400)
        assert np.mean(np.array(times) <= 0.9 * scale * UNIT_MS) < ATTAINED


def test_attainment_follows_the_distribution_of_latencies():
    one = system("one")
    for scale in CURVE:
        share = 1 - np.exp(-scale * UNIT_MS / 100)
        assert attained(one, 0.6, scale, UNIT_MS).p50 == pytest.approx(share, abs=0.05)


def test_a_system_that_takes_three_times_as_long_needs_three_times_the_scale():
    told = {
        (variant, metric): value
        for variant, _, metric, _, value in relations([system("Cascadia"), system("slow", 3.0)])
    }
    assert told["Cascadia / slow", "SLO scale"].p50 == pytest.approx(1 / 3)
    assert told["Cascadia / slow", "requests per second"].p50 == pytest.approx(3.0)


def test_the_picture_draws_what_the_rows_hold_and_only_of_its_load(tmp_path):
    facts = Facts(**{field.name: "" for field in dataclasses.fields(Facts)})
    one = system("one")
    one.due_ms[0.9] = one.due_ms[0.6]
    rows = [
        make_row(
            facts, bench="rivals", case=case, variant="one", metric=metric, unit=unit, value=value
        )
        for case, metric, unit, value in estimates(one, UNIT_MS)
    ]
    save_rows(tmp_path / "rivals.csv", rows)
    (curve,) = curves(tmp_path / "rivals.csv", opened(0.6)).values()
    assert [scale for scale, _ in curve] == pytest.approx(CURVE, abs=1e-3)
    assert [share for _, share in curve] == sorted(share for _, share in curve)
    with (tmp_path / "rivals.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 7 + 2 * (2 + len(CURVE))


def test_the_page_has_a_row_for_every_system_in_each_of_its_tables():
    text = page([system("Cascadia"), system("slow", 3.0)], {0.6: 12.0}, UNIT_MS)
    assert text.count("\n| slow |") == 2
    assert "12.0/s, 60%" in text
