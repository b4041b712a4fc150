"""Bounds without a simulation, against simulations of random plans."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadia_sglang.planner.latency.surfaces import ParallelShape
from cascadia_sglang.planner.simulation.paths import shared_paths
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.speed.profile import EngineLimits, StepTimes
from cascadia_sglang.planner.thresholds.frontier import ThresholdPoint
from cascadia_sglang.planner.whole.capacity import lanes_needed, pool_work_s, windows
from cascadia_sglang.planner.whole.least_times import LeastTimes, held_tokens
from cascadia_sglang.planner.whole.relaxation import relaxed_bound
from cascadia_sglang.planner.workload.workload import build_workload, poisson_arrivals_s
from tests.unit.planner.whole_problems import workload_problem

CASES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "rate": st.sampled_from([0.5, 3.0, 20.0]),
        "blocks": st.booleans(),
        "kept": st.sampled_from([None, 0.0, 0.6]),
        "prompt_length": st.sampled_from([1.0, 0.7, 2.0]),
        "chunk": st.sampled_from([32, 200]),
        "replicas": st.tuples(st.integers(1, 3), st.integers(1, 2)),
        "stages": st.integers(1, 2),
        "share": st.sampled_from([0.0, 0.3, 1.0]),
    }
)


def _simulated(case):
    """A problem of two tiers, its workload, a shape, and a simulation of some replicas of it."""
    random = np.random.default_rng(case["seed"])
    count = 60
    inputs = random.integers(1, 400, count)
    ids = [
        [int(request_ids), int(request_ids) + 10, 100 + index]
        for index, request_ids in enumerate(inputs % 5)
    ]
    load = build_workload(
        poisson_arrivals_s(case["rate"], count, case["seed"]),
        inputs,
        random.integers(1, 60, count),
        hash_ids=[request_ids[: n // 40] for request_ids, n in zip(ids, inputs, strict=True)]
        if case["blocks"]
        else (),
        block_tokens=40,
    )
    # Tables that fall at places, as measured ones may.
    times = StepTimes(
        decode_ms=[(2, 9.0), (8, float(random.uniform(6, 14))), (32, 30.0)],
        prefill_ms=[(16, 8.0), (64, float(random.uniform(5, 20))), (400, 60.0)],
        decode_context_us=float(random.uniform(0, 3)),
        prefill_row_ms=0.4,
        prefill_context_ns=50.0,
    )
    limits = EngineLimits(
        kv_tokens=2_000, max_running_requests=16, chunked_prefill_tokens=case["chunk"]
    )
    shape = ParallelShape(tp=1, pp=case["stages"], times=times, limits=limits, gpu="H100")
    problem = workload_problem(
        tiers=[
            {"name": "small"},
            {
                "name": "large",
                "length": 1.5,
                "kept": case["kept"],
                "prompt_length": case["prompt_length"],
            },
        ]
    )
    tiers = [
        SimulatedTier(
            name=tier.name,
            times=times,
            limits=limits,
            replicas=replicas,
            stages=case["stages"],
            kept_share=tier.kept,
            prompt_length=tier.prompt_length,
        )
        for tier, replicas in zip(problem.tiers, case["replicas"], strict=True)
    ]
    paths = shared_paths(load, [1.0, case["share"]], [1.0, 1.5], None, problem.routing.seed)
    return problem, load, shape, simulate(load, paths, tiers, is_buffered=True)


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_no_attempt_is_faster_than_alone(case):
    problem, load, shape, outcome = _simulated(case)
    least = LeastTimes(problem, load)
    for tier in range(2):
        taken_s = outcome.attempt_e2e_s_RT[:, tier]
        visited = np.isfinite(taken_s)
        assert np.array_equal(visited, least.reached([1.0, case["share"]])[:, tier])
        assert (taken_s >= least.attempt_s(tier, shape) - 1e-9)[visited].all()
    assert (outcome.e2e_s_R >= least.request_s([1.0, case["share"]], [shape] * 2) - 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(CASES, st.floats(0.1, 0.95), st.sampled_from([0.5, 0.9, 1.0]))
def test_a_pool_that_meets_the_targets_has_the_lanes_that_are_needed(case, quantile, attainment):
    problem, load, shape, outcome = _simulated(case)
    late_s = float(np.quantile(outcome.e2e_s_R, quantile))
    attained = float((outcome.e2e_s_R <= late_s).mean())
    least = LeastTimes(problem, load)
    for tier, replicas in enumerate(case["replicas"]):
        work_s_R, visits_R = pool_work_s(least, [tier], [shape], [1.0, case["share"]])
        needed = lanes_needed(
            work_s_R, visits_R, windows(load, late_s), load, late_s, min(attainment, attained)
        )
        assert needed <= replicas * case["stages"]


@settings(max_examples=40, deadline=None)
@given(CASES, st.floats(0.1, 0.95))
def test_no_plan_is_better_than_the_relaxation(case, quantile):
    problem, load, shape, outcome = _simulated(case)
    point = ThresholdPoint(thresholds=(0.5,), shares=(1.0, case["share"]), quality=1.0)
    slower = ParallelShape(
        tp=2,
        pp=1,
        times=StepTimes(decode_ms=[(1, 99.0)], prefill_ms=[(1, 99.0)]),
        limits=shape.limits,
    )
    late_s = float(np.quantile(outcome.e2e_s_R, quantile))
    bound = relaxed_bound(
        problem,
        LeastTimes(problem, load),
        {"small": [slower, shape], "large": [shape, slower]},
        [point],
        late_s,
    )
    assert bound.mean_e2e_ms <= 1e3 * outcome.mean_s() * (1 + 1e-9)
    assert bound.slo_attainment >= float((outcome.e2e_s_R <= late_s).mean()) - 1e-9


def test_a_pool_needs_the_lanes_that_its_work_fills():
    """Ten requests at once, a second of work each, three seconds of time: four lanes, or three if
    one in ten may be late."""
    load = build_workload([*([0.0] * 10), 100.0], [1] * 11, [1] * 11)
    work_s_R = np.array([1.0] * 10 + [0.0])
    visits_R = np.array([True] * 10 + [False])
    needed = [
        lanes_needed(work_s_R, visits_R, windows(load, 3.0), load, 3.0, attainment)
        for attainment in (1.0, 0.9, 0.5)
    ]
    assert needed == [4, 3, 2]


def test_prompts_hold_the_leading_blocks_that_came_before():
    load = build_workload(
        [0, 1, 2, 3],
        [10, 10, 3, 10],
        [1] * 4,
        hash_ids=[[1, 2], [1, 3], [1], [9, 2]],
        block_tokens=3,
    )
    assert held_tokens(load).tolist() == [0, 3, 2, 0]
    assert held_tokens(build_workload([0, 1], [5, 5], [1, 1])).tolist() == [0, 0]


def test_a_longer_draft_leaves_less_to_do():
    problem = workload_problem(tiers=[{"name": "a"}, {"name": "b", "kept": 0.5}])
    load = build_workload([0, 1], [5, 5], [20, 40])
    shape = ParallelShape(
        tp=1,
        pp=1,
        times=StepTimes(decode_ms=[(1, 10.0), (64, 10.0)], prefill_ms=[(1, 100.0), (1000, 100.0)]),
        limits=EngineLimits(kv_tokens=1000, max_running_requests=4),
    )
    least = LeastTimes(problem, load)
    assert least.attempt_s(0, shape) == pytest.approx([0.1 + 0.19, 0.1 + 0.39])
    # Half of the draft is there: 9 and 19 tokens after the first are left.
    assert least.attempt_s(1, shape) == pytest.approx([0.1 + 0.09, 0.1 + 0.19])
