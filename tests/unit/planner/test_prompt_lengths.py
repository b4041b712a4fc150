"""A tier whose tokenizer makes more of the same prompts, against prompts that have so many more."""

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadia_sglang.errors import InfeasiblePlanError, WorkloadError
from cascadia_sglang.planner.latency.build_surfaces import (
    SurfaceJob,
    TierLengths,
    lengths_of,
    surface_of,
)
from cascadia_sglang.planner.latency.shapes import shapes_of_pools
from cascadia_sglang.planner.latency.surfaces import ParallelShape
from cascadia_sglang.planner.simulation.paths import Paths, shared_paths
from cascadia_sglang.planner.simulation.result import SimulationResult
from cascadia_sglang.planner.simulation.run_scenario import run_scenario
from cascadia_sglang.planner.simulation.scenario import Scenario
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.solve import solve
from cascadia_sglang.planner.speed.profile import EngineLimits, Profile, StepTimes
from cascadia_sglang.planner.workload.source import load_workload
from cascadia_sglang.planner.workload.workload import (
    Workload,
    build_workload,
    poisson_arrivals_s,
    scaled_tokens,
)
from tests.unit.planner.whole_problems import workload_data, workload_problem

# What the number of a prompt's tokens changes nothing of.
BLIND = StepTimes(decode_ms=[(1, 2.0), (64, 3.0)], prefill_ms=[(1, 5.0), (10**6, 5.0)])
ROOMY = EngineLimits(kv_tokens=10**7, max_running_requests=64)
SEEING = StepTimes(
    decode_ms=[(1, 10.0), (64, 20.0)],
    prefill_ms=[(1, 5.0), (1000, 100.0)],
    decode_context_us=2.0,
    prefill_context_ns=40.0,
)
TIGHT = EngineLimits(kv_tokens=4_000, max_running_requests=16, chunked_prefill_tokens=300)


def _load(seed: int, *, has_blocks: bool) -> Workload:
    random = np.random.default_rng(seed)
    inputs = random.integers(1, 600, 50)
    return build_workload(
        poisson_arrivals_s(3.0, 50, seed),
        inputs,
        random.integers(1, 60, 50),
        hash_ids=[[int(n) % 3, 10 + int(n) % 3, 100 + int(n)][: n // 40] for n in inputs]
        if has_blocks
        else (),
        block_tokens=40,
    )


def _doubled(load: Workload) -> Workload:
    return dataclasses.replace(
        load, input_tokens_R=2 * load.input_tokens_R, block_tokens=2 * load.block_tokens
    )


def _equal(first: SimulationResult, second: SimulationResult) -> None:
    for name in ("status_R", "e2e_s_R", "ttft_s_R", "attempt_e2e_s_RT", "attempt_ttft_s_RT"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.replicas == second.replicas


CASES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "has_blocks": st.booleans(),
        "share": st.sampled_from([0.4, 1.0]),
    }
)


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_twice_the_tokens_are_prompts_of_twice_the_length(case):
    """The small tier is blind to a prompt's length, so the large one alone sees the difference."""
    load = _load(case["seed"], has_blocks=case["has_blocks"])
    paths = shared_paths(load, [1.0, case["share"]], [1.0, 1.3], None, 0)
    small = SimulatedTier(name="small", times=BLIND, limits=ROOMY)
    large = SimulatedTier(name="large", times=SEEING, limits=TIGHT, replicas=2)
    doubled = simulate(_doubled(load), paths, [small, large])
    own_load = simulate(load, paths, [small, dataclasses.replace(large, prompt_length=2.0)])
    np.testing.assert_array_equal(doubled.status_R, own_load.status_R)
    np.testing.assert_array_equal(doubled.e2e_s_R, own_load.e2e_s_R)
    np.testing.assert_array_equal(doubled.attempt_e2e_s_RT, own_load.attempt_e2e_s_RT)
    assert doubled.replicas[1:] == own_load.replicas[1:]
    # The test can tell: without the factor the large tier is faster.
    plain = simulate(load, paths, [small, large])
    assert plain.mean_s() < own_load.mean_s()


@settings(max_examples=20, deadline=None)
@given(CASES)
def test_every_tier_with_twice_the_tokens_is_a_load_of_twice_the_tokens(case):
    load = _load(case["seed"], has_blocks=case["has_blocks"])
    paths = shared_paths(load, [1.0, case["share"]], [1.0, 1.3], None, 0)
    tiers = [
        SimulatedTier(name="small", times=SEEING, limits=TIGHT),
        SimulatedTier(name="large", times=SEEING, limits=TIGHT, kept_share=0.5),
    ]
    both = [dataclasses.replace(tier, prompt_length=2.0) for tier in tiers]
    _equal(simulate(load, paths, both), simulate(_doubled(load), paths, tiers))


def test_a_draft_has_the_tokens_that_its_reader_counts():
    """Ten tokens that are twenty to the reader, which keeps all of them, leave ten to write."""
    load = build_workload([0, 9], [10, 10], [10, 10])
    paths = Paths(
        first_tier_R=np.array([0, 0]),
        last_tier_R=np.array([1, 1]),
        tokens_RT=np.array([[10, 30], [10, 30]]),
        limit_tokens_R=np.array([50, 50]),
    )
    flat = StepTimes(decode_ms=[(1, 10.0), (64, 10.0)], prefill_ms=[(1, 100.0), (10**6, 100.0)])
    small = SimulatedTier(name="small", times=flat, limits=ROOMY)
    large = dataclasses.replace(small, name="large", kept_share=1.0, prompt_length=2.0)
    outcome = simulate(load, paths, [small, large])
    assert outcome.attempt_e2e_s_RT[:, 1] == pytest.approx([0.1 + 9 * 0.01] * 2)


def test_a_prompt_is_too_long_where_its_own_tier_cannot_hold_it():
    load = build_workload([0, 1], [300, 50], [5, 5])
    paths = shared_paths(load, [1.0, 1.0], [1.0, 1.0], None, 0)
    small = SimulatedTier(
        name="small", times=BLIND, limits=EngineLimits(kv_tokens=500, max_running_requests=4)
    )
    large = dataclasses.replace(small, name="large")
    assert simulate(load, paths, [small, large]).is_done.tolist() == [True, True]
    coarse = dataclasses.replace(large, prompt_length=2.0)
    assert simulate(load, paths, [small, coarse]).is_done.tolist() == [False, True]


def test_tiers_that_share_workers_count_prompts_alike():
    load = build_workload([0, 1], [10, 10], [5, 5])
    small = SimulatedTier(name="small", times=BLIND, limits=ROOMY, pool="both")
    large = dataclasses.replace(small, name="large", prompt_length=2.0)
    with pytest.raises(WorkloadError, match="small and large share workers"):
        simulate(load, shared_paths(load, [1.0, 1.0], [1.0, 1.0], None, 0), [small, large])


def test_a_surface_is_that_of_longer_prompts():
    load = _load(3, has_blocks=True)
    shape = ParallelShape(tp=1, pp=1, times=SEEING, limits=TIGHT, gpu="H100")
    counted, longer = (
        surface_of(SurfaceJob(workload=workload, shape=shape, lengths=lengths))
        for workload, lengths in (
            (load, TierLengths(length=1.2, prompt_length=2.0)),
            (_doubled(load), TierLengths(length=1.2)),
        )
    )
    assert counted.saturation_per_s == longer.saturation_per_s
    np.testing.assert_array_equal(counted.mean_s_G, longer.mean_s_G)


def test_a_tier_reads_drafts_in_its_own_tokens():
    tiers = workload_data()["tiers"]
    small, large = tiers[0], {**tiers[1], "kept": 0.5, "length": 3.0, "prompt_length": 1.5}
    problem = workload_problem(tiers=[{**small, "prompt_length": 0.5, "length": 2.0}, large])
    assert lengths_of(problem, 1) == TierLengths(
        length=3.0, prompt_length=1.5, draft_length=6.0, kept_share=0.5
    )


def test_a_plan_knows_that_a_tier_counts_more_tokens():
    """Prompts of twice the tokens at one tier: a slower plan, whose scenario simulates alike."""
    tiers = workload_data()["tiers"]
    plans = {
        length: solve(workload_problem(tiers=[tiers[0], {**tiers[1], "prompt_length": length}]))
        for length in (1.0, 8.0)
    }
    assert plans[8.0].simulated.objective_s > plans[1.0].simulated.objective_s
    plan = plans[8.0]
    assert [tier.prompt_length for tier in plan.setup.tiers] == [1.0, 8.0]
    assert isinstance(plan.setup.profile, Profile)
    again = run_scenario(plan.setup, plan.setup.profile, load_workload(plan.setup.workload))
    assert again.mean_s() == plan.simulated.objective_s


def test_no_shape_serves_a_prompt_that_is_too_long_for_its_tier():
    tiers = workload_data()["tiers"]
    problem = workload_problem(tiers=[tiers[0], {**tiers[1], "prompt_length": 10_000.0}])
    with pytest.raises(InfeasiblePlanError, match="tier 'large': the longest request has"):
        shapes_of_pools(problem, load_workload(problem.workload))


@pytest.mark.parametrize("length", [0.0, -1.0, float("inf")])
def test_a_scenario_needs_a_length_above_0(length):
    data = {
        "version": 1,
        "profile": "profile.json",
        "tiers": [{"name": "small", "prompt_length": length}],
    }
    with pytest.raises(msgspec.ValidationError, match=r"tiers\[0\] needs .* prompt_length above 0"):
        msgspec.convert(data, Scenario)


def test_no_text_has_less_than_a_token():
    assert scaled_tokens(np.array([1, 10]), 0.1).tolist() == [1, 1]
    load = build_workload([0, 1], [10, 10], [5, 5], block_tokens=2).with_prompts(0.1)
    assert (load.input_tokens_R.tolist(), load.block_tokens) == ([1, 1], 1)
