"""Tiers that share devices: one device in the budget, and steps that take turns on it."""

import itertools
import math
import random
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.planner.fleet import LLAMA_8B, LLAMA_70B
from cascadia_sglang.errors import InfeasiblePlanError, WorkloadError
from cascadia_sglang.planner.deployment.allocation import allocate
from cascadia_sglang.planner.deployment.plan_check import check_plan
from cascadia_sglang.planner.from_workload import plan_of_workload
from cascadia_sglang.planner.latency.shapes import shapes_of_pools
from cascadia_sglang.planner.problem.checks import problems_of
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.progress import JobRunner
from cascadia_sglang.planner.simulation.paths import Paths
from cascadia_sglang.planner.simulation.simulator import simulate
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.speed.profile import EngineLimits, StepTimes
from cascadia_sglang.planner.speed.roofline import shape_of_config
from cascadia_sglang.planner.workload.workload import build_workload, poisson_arrivals_s
from tests.unit.planner.problems import problems
from tests.unit.planner.whole_problems import workload_problem

LIMITS = EngineLimits(kv_tokens=100_000, max_running_requests=64)


def tier(name: str, step_ms: float, prefill_ms: float, **settings: object) -> SimulatedTier:
    times = StepTimes(
        decode_ms=[(1, step_ms), (1000, step_ms)], prefill_ms=[(1, prefill_ms), (9e4, prefill_ms)]
    )
    return SimulatedTier(name=name, times=times, limits=LIMITS, **settings)  # type: ignore[arg-type]


def run(
    arrivals: list[float], firsts: list[int], tokens: int, tiers: list[SimulatedTier]
) -> list[float]:
    """Latency of requests that each one tier answers alone."""
    count = len(arrivals)
    load = build_workload(arrivals, [10] * count, [tokens] * count)
    at = np.array(firsts, np.int64)
    paths = Paths(
        first_tier_R=at,
        last_tier_R=at,
        tokens_RT=np.full((count, len(tiers)), tokens),
        limit_tokens_R=np.full(count, tokens),
    )
    e2e_s: list[float] = simulate(load, paths, tiers).e2e_s_R.tolist()
    return e2e_s


def test_two_tiers_that_compute_at_once_take_as_long_as_one_after_the_other() -> None:
    alone = [tier("a", 10, 100), tier("b", 10, 100)]
    together = [replace(tier, block="card") for tier in alone]
    arrivals, firsts = [0.0, 0.0, 9.0], [0, 1, 0]
    assert run(arrivals, firsts, 11, alone)[:2] == pytest.approx([0.2, 0.2])
    assert run(arrivals, firsts, 11, together)[:2] == pytest.approx([0.4, 0.4])
    # Who is alone on the device has it whole.
    assert run(arrivals, firsts, 11, together)[2] == pytest.approx(0.2)


def test_the_longer_one_has_the_device_alone_once_the_other_is_done() -> None:
    tiers = [tier("a", 10, 100, block="card"), tier("b", 30, 100, block="card")]
    e2e_s = run([0.0, 0.0, 9.0], [0, 1, 0], 11, tiers)
    # 0.2 s of the one and 0.4 s of the other: 0.4 s together, the rest alone.
    assert e2e_s[:2] == pytest.approx([0.4, 0.6])


@pytest.mark.parametrize("rate", [2.0, 8.0])
def test_sharing_a_device_gains_nothing(rate: float) -> None:
    arrivals = poisson_arrivals_s(rate, 200, seed=0).tolist()
    firsts = [index % 2 for index in range(200)]
    alone = [tier("a", 4, 20), tier("b", 9, 40)]
    together = [replace(tier, block="card") for tier in alone]
    apart_R = np.array(run(arrivals, firsts, 8, alone))
    shared_R = np.array(run(arrivals, firsts, 8, together))
    assert (shared_R >= apart_R - 1e-9).all()
    assert shared_R.mean() > apart_R.mean()


def test_tiers_that_share_devices_have_as_many_replicas() -> None:
    tiers = [tier("a", 10, 100, block="card"), tier("b", 10, 100, block="card", replicas=2)]
    with pytest.raises(WorkloadError, match="a and b share devices: they need as many replicas"):
        run([0.0, 1.0], [0, 1], 4, tiers)


def best_with_blocks(problem: Problem) -> float | None:
    """Least objective by trying every count for every block, each of which counts once."""
    units = list(dict.fromkeys(tier.block or tier.name for tier in problem.tiers))
    unit_T = [units.index(tier.block or tier.name) for tier in problem.tiers]
    best = math.inf
    for candidate in problem.candidates:
        if problem.quality_floor is not None and candidate.quality < problem.quality_floor:
            continue
        for counts in itertools.product(range(1, problem.gpu_budget + 1), repeat=len(units)):
            if sum(counts) > problem.gpu_budget:
                continue
            tables = zip(candidate.latency_s, unit_T, strict=True)
            latencies_s = [table.get(counts[unit], math.inf) for table, unit in tables]
            if math.inf in latencies_s:
                continue
            if problem.objective == "path":
                latencies_s = [s * x for s, x in zip(candidate.shares, latencies_s, strict=True)]
            best = min(
                best, max(latencies_s) if problem.objective == "bottleneck" else sum(latencies_s)
            )
    return None if math.isinf(best) else best


@settings(max_examples=200, deadline=None)
@given(problems(), st.integers(0, 2**32))
def test_a_plan_with_blocks_is_the_best_of_all(problem: Problem, seed: int) -> None:
    rng = random.Random(seed)
    tiers = [
        msgspec.structs.replace(tier, block=rng.choice([None, "card", "other"]))
        for tier in problem.tiers
    ]
    problem = msgspec.structs.replace(problem, tiers=tiers, gpu_budget=min(7, problem.gpu_budget))
    best = best_with_blocks(problem)
    if best is None:
        with pytest.raises(InfeasiblePlanError):
            allocate(problem)
        return
    plan = allocate(problem)
    assert plan.objective_s == pytest.approx(best, rel=1e-12)
    assert check_plan(problem, plan) == []
    by_block = {
        tier.block: count for tier, count in zip(tiers, plan.allocation, strict=True) if tier.block
    }
    for tier, count in zip(tiers, plan.allocation, strict=True):
        assert tier.block is None or by_block[tier.block] == count


SMALLER = {**LLAMA_8B, "num_hidden_layers": 8}


def shared_problem(**changes: object) -> Problem:
    tiers = [
        {"name": "small", "model": SMALLER, "block": "card", "max_tp": 1},
        {"name": "large", "model": LLAMA_8B, "block": "card", "max_tp": 1},
    ]
    cluster = [{"gpu": "H100", "nodes": 1, "gpus_per_node": 2}]
    return workload_problem(**{"tiers": tiers, "cluster": cluster, "gpu_budget": 2, **changes})


def test_tiers_of_a_block_divide_the_memory_with_room_for_as_many_tokens() -> None:
    load = build_workload([0.0, 1.0], [100, 100], [10, 10])
    (shape,) = shapes_of_pools(shared_problem(), load)["card"]
    tokens = {name: shape.of_tier(name).limits.kv_tokens for name in ("small", "large")}
    assert tokens["small"] == tokens["large"]
    used = sum(
        model.parameters * model.weight_bytes + tokens[name] * model.kv_bytes
        for name, model in (
            ("small", shape_of_config(SMALLER)),
            ("large", shape_of_config(LLAMA_8B)),
        )
    )
    assert used == pytest.approx(80e9 * 0.88, rel=1e-5)


def test_a_whole_plan_has_a_block_on_the_devices_of_one() -> None:
    problem = shared_problem()
    assert list(problems_of(problem)) == []
    load = build_workload(poisson_arrivals_s(4.0, 120, seed=1), np.full(120, 300), np.full(120, 40))
    plan = plan_of_workload(problem, load, JobRunner())
    (deployment,) = plan.deployments
    assert deployment.pool == "card"
    assert plan.allocation == [deployment.gpus] * 2
    assert deployment.gpus <= 2
    assert plan.setup is not None
    assert [tier.block for tier in plan.setup.tiers] == ["card", "card"]
    assert plan.simulated is not None
    assert plan.simulated.answered == 120


def test_a_block_that_does_not_fit_names_the_tier_and_the_gigabytes() -> None:
    tiers = [
        {"name": "small", "model": LLAMA_8B, "block": "card", "max_tp": 1, "max_pp": 1},
        {"name": "large", "model": LLAMA_8B, "block": "card", "gpu_share": 0.2, "max_tp": 1},
    ]
    load = build_workload([0.0, 1.0], [100, 100], [10, 10])
    with pytest.raises(InfeasiblePlanError, match=r"tier 'large' lacks 2\.\d GB on each device"):
        shapes_of_pools(shared_problem(tiers=tiers), load)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu_share": 0.5}, "tiers[0].gpu_share needs a block"),
        ({"block": "large"}, "tiers[0].block 'large' is also a tier or a pool"),
        (
            {"block": "card", "gpu_share": 1.5},
            "tiers[0].gpu_share is 1.5, allowed: 0 to 1, or null",
        ),
    ],
)
def test_a_block_that_cannot_be_is_one_line(changes: dict[str, object], message: str) -> None:
    tiers = [
        {"name": "small", "model": LLAMA_8B, **changes},
        {"name": "large", "model": LLAMA_70B},
    ]
    assert message in list(problems_of(workload_problem(tiers=tiers)))
