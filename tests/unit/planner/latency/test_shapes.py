"""Shapes on several types of GPU, with a running plan, against enumeration."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadia_sglang.capacity.types import GpuType, RunningReplica
from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.deployment.allocation import allocate
from cascadia_sglang.planner.deployment.plan_check import check_plan
from cascadia_sglang.planner.problem.problem import Candidate, Deployment, Problem, ProblemTier


@st.composite
def shaped_problems(draw: st.DrawFn) -> Problem:
    """Up to 3 pools of up to 2 tiers, 2 types of GPU and 10 GPUs; half of them run already."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    types = draw(st.integers(1, 2))
    cluster = [GpuType(gpu=f"g{k}", nodes=2, gpus_per_node=rng.randint(1, 3)) for k in range(types)]
    pools = [f"p{index}" for index in range(draw(st.integers(1, 3)))]
    tiers = [ProblemTier(name=f"t{k}", pool=rng.choice(pools)) for k in range(len(pools) + 1)]
    used = list(dict.fromkeys(tier.pool_name for tier in tiers))

    def deployments() -> list[Deployment]:
        return [
            Deployment(
                pool=pool,
                gpu=rng.choice(cluster).gpu,
                tp_size=rng.randint(1, 3),
                replicas=rng.randint(1, 3),
                latency_s={
                    tier.name: rng.uniform(0.1, 3) for tier in tiers if tier.pool_name == pool
                },
            )
            for pool in used
            for _ in range(rng.randint(1, 5))
        ]

    candidates = [
        Candidate(
            thresholds=[0.5] * (len(tiers) - 1),
            quality=0.9,
            shares=[rng.random() for _ in tiers],
            deployments=deployments(),
        )
        for _ in range(draw(st.integers(1, 2)))
    ]
    running = [
        RunningReplica(
            pool=deployment.pool,
            gpu=deployment.gpu,
            tp_size=deployment.tp_size,
            node=0,
            base_gpu_id=0,
        )
        for deployment in candidates[0].deployments
        if rng.random() < 0.5
    ]
    return Problem(
        gpu_budget=rng.randint(2, 10),
        objective=draw(st.sampled_from(["bottleneck", "path"])),
        tiers=tiers,
        candidates=candidates,
        cluster=cluster,
        running=running,
        switching_cost_s=draw(st.sampled_from([0.0, 0.3])),
    )


def best_by_enumeration(problem: Problem) -> float | None:
    """Least objective over all ways to give every pool one of its deployments."""
    kinds = {kind.gpu: kind for kind in problem.cluster}
    best = None
    for candidate in problem.candidates:
        by_pool = [
            [deployment for deployment in candidate.deployments if deployment.pool == pool]
            for pool in problem.pools
        ]
        for chosen in itertools.product(*by_pool):
            if any(
                deployment.tp_size > kinds[deployment.gpu].gpus_per_node for deployment in chosen
            ):
                continue
            taken = dict.fromkeys(kinds, 0)
            for deployment in chosen:
                taken[deployment.gpu] += deployment.tp_size * deployment.replicas
            if sum(taken.values()) > problem.gpu_budget:
                continue
            if any(taken[name] > 2 * kind.gpus_per_node for name, kind in kinds.items()):
                continue
            value = _objective_s(problem, candidate, chosen)
            best = value if best is None else min(best, value)
    return best


def _objective_s(problem: Problem, candidate: Candidate, chosen: tuple[Deployment, ...]) -> float:
    latency = {name: s for deployment in chosen for name, s in deployment.latency_s.items()}
    latencies_s = [latency[tier.name] for tier in problem.tiers]
    value = max(latencies_s)
    if problem.objective == "path":
        value = sum(share * s for share, s in zip(candidate.shares, latencies_s, strict=True))
    for deployment in chosen:
        alike = [
            r
            for r in problem.running
            if (r.pool, r.gpu, r.tp_size) == (deployment.pool, deployment.gpu, deployment.tp_size)
        ]
        value += problem.switching_cost_s * max(0, deployment.replicas - len(alike))
    return value


@settings(max_examples=200)
@given(shaped_problems())
def test_a_plan_of_shapes_is_the_best_of_all(problem: Problem) -> None:
    best = best_by_enumeration(problem)
    if best is None:
        with pytest.raises(InfeasiblePlanError):
            allocate(problem)
        return
    plan = allocate(problem)
    assert plan.objective_s == pytest.approx(best, rel=1e-6)
    assert plan.gap == 0
    assert check_plan(problem, plan) == []
