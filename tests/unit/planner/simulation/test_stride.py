"""Strides and limits of a run, against runs step by step and against whole runs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadia_sglang.planner.simulation.run_limit import RunLimit
from cascadia_sglang.planner.simulation.simulator import simulate, simulate_within
from tests.unit.planner.simulation.test_simulator import LOADS, simulation_of


@settings(max_examples=60, deadline=None)
@given(LOADS, st.sampled_from([None, "card"]))
def test_strides_give_the_times_of_single_steps(load, block):
    workload, paths, tiers, host = simulation_of(load, block)
    fast, slow = (
        simulate(workload, paths, tiers, host=host, has_strides=has_strides)
        for has_strides in (True, False)
    )
    assert fast.e2e_s_R == pytest.approx(slow.e2e_s_R, abs=1e-8)
    assert fast.attempt_ttft_s_RT == pytest.approx(slow.attempt_ttft_s_RT, abs=1e-8, nan_ok=True)
    for by_strides, by_steps in zip(fast.replicas, slow.replicas, strict=True):
        assert by_strides.busy_s == pytest.approx(by_steps.busy_s)
        for name in ("steps", "row_steps", "prefill_tokens", "hit_tokens", "retracted"):
            assert getattr(by_strides, name) == getattr(by_steps, name)


@settings(max_examples=40, deadline=None)
@given(LOADS, st.floats(0.5, 1.5))
def test_a_run_is_stopped_if_and_only_if_its_mean_exceeds_the_limit(load, factor):
    workload, paths, tiers, host = simulation_of(load)
    whole = simulate(workload, paths, tiers, host=host)
    least_s_R = whole.e2e_s_R * np.random.default_rng(load["seed"]).random(len(workload))
    limit = RunLimit(mean_s=factor * whole.mean_s(), least_s_R=least_s_R)
    result = simulate_within(workload, paths, tiers, limit, host=host)
    assert (result is None) == (factor < 1.0)


@settings(max_examples=40, deadline=None)
@given(LOADS, st.floats(0.02, 0.98), st.floats(0.5, 1.0))
def test_a_run_is_stopped_if_and_only_if_too_many_requests_are_late(load, quantile, attainment):
    workload, paths, tiers, host = simulation_of(load)
    whole = simulate(workload, paths, tiers, host=host)
    late_s = float(np.quantile(whole.e2e_s_R, quantile)) + 1e-7
    attained = float((whole.e2e_s_R <= late_s).mean())
    # Whatever is known of the least that requests take.
    least_s_R = whole.e2e_s_R * np.random.default_rng(load["seed"]).random(len(workload))
    for known_s_R in (None, least_s_R, whole.e2e_s_R):
        limit = RunLimit(late_s=late_s, attainment=attainment, least_s_R=known_s_R)
        result = simulate_within(workload, paths, tiers, limit, host=host)
        assert (result is None) == (attained < attainment - 1e-8)


@settings(max_examples=40, deadline=None)
@given(LOADS, st.floats(0.5, 1.5))
def test_a_run_within_its_slowest_p95_is_never_stopped(load, factor):
    workload, paths, tiers, host = simulation_of(load)
    whole = simulate(workload, paths, tiers, host=host)
    slowest_s = max(
        float(np.quantile(finished_s, 0.95))
        for seconds_R in whole.attempt_e2e_s_RT.T
        if len(finished_s := seconds_R[np.isfinite(seconds_R)])
    )
    limit = RunLimit(slowest_p95_s=factor * slowest_s)
    result = simulate_within(workload, paths, tiers, limit, host=host)
    if factor >= 1.0:
        assert result is not None
        assert np.array_equal(result.e2e_s_R, whole.e2e_s_R)
