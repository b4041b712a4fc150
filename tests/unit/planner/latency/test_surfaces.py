"""Latency surfaces: isotonic, right at the ends, and the best shape for every number of GPUs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.latency.surfaces import (
    ParallelShape,
    build_surface,
    isotonic,
)
from cascadia_sglang.planner.simulation.paths import direct_paths
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.speed.profile import EngineLimits, StepTimes
from cascadia_sglang.planner.workload.workload import build_workload, poisson_arrivals_s

TIMES = StepTimes(decode_ms=[(1, 10.0), (32, 30.0)], prefill_ms=[(1, 10.0), (1000, 100.0)])
LIMITS = EngineLimits(kv_tokens=20_000, max_running_requests=32)
SHAPE = ParallelShape(tp=1, pp=1, times=TIMES, limits=LIMITS)


def _load(count=400):
    random = np.random.default_rng(0)
    return build_workload(
        poisson_arrivals_s(1.0, count, 1),
        random.integers(5, 300, count),
        random.integers(1, 60, count),
    )


@pytest.fixture(scope="module")
def surface():
    load = _load()
    return build_surface(load, direct_paths(load), SHAPE)


def test_a_surface_never_falls_and_ends_at_saturation(surface):
    assert (np.diff(surface.p95_s_G) >= 0).all()
    assert (np.diff(surface.mean_s_G) >= 0).all()
    assert (surface.p95_s_G >= surface.mean_s_G).all()
    assert surface.rates_per_s_G[-1] < surface.saturation_per_s
    assert surface.latency_s(surface.saturation_per_s) == math.inf
    rates = np.linspace(0, surface.saturation_per_s, 200)
    latencies_s = [surface.latency_s(float(rate)) for rate in rates]
    assert latencies_s == sorted(latencies_s)


def test_between_its_rates_a_surface_is_near_the_simulator(surface):
    load = _load()
    for share in (0.15, 0.55, 0.73):
        rate = share * surface.saturation_per_s
        tier = SimulatedTier(name="t", times=TIMES, limits=LIMITS)
        outcome = simulate(load.at_rate(rate), direct_paths(load), [tier])
        assert surface.latency_s(rate, "mean") == pytest.approx(outcome.mean_s(), rel=0.05)
        assert surface.latency_s(rate) == pytest.approx(outcome.quantile_s(0.95), rel=0.08)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12))
def test_isotonic_is_the_nearest_sequence_that_never_falls(values):
    fitted = isotonic(values)
    assert (np.diff(fitted) >= -1e-9).all()
    # Min-max form of the same projection (Barlow et al., 1972), worked out by brute force.
    count = len(values)
    expected = [
        max(min(float(np.mean(values[i : j + 1])) for j in range(k, count)) for i in range(k + 1))
        for k in range(count)
    ]
    assert fitted == pytest.approx(expected, abs=1e-9)


def test_bad_grids_rates_and_prompts_are_one_line(surface):
    load = _load(10)
    with pytest.raises(WorkloadError, match="a grid needs rising shares"):
        build_surface(load, direct_paths(load), SHAPE, grid=(0.5, 0.5))
    with pytest.raises(WorkloadError, match="the rate is nan"):
        surface.latency_s(math.nan)
    small = ParallelShape(
        tp=1, pp=1, times=TIMES, limits=EngineLimits(kv_tokens=100, max_running_requests=4)
    )
    with pytest.raises(WorkloadError, match="do not fit a replica of shape 1x1"):
        build_surface(load, direct_paths(load), small)
