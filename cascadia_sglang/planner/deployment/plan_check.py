"""Recomputes a plan from its problem alone, and lists every violation."""

from __future__ import annotations

from collections.abc import Iterator

from cascadia_sglang.capacity.devices import misplaced
from cascadia_sglang.planner.deployment.columns import fits, switching_s
from cascadia_sglang.planner.plan import Plan, gap_of
from cascadia_sglang.planner.problem.problem import Candidate, Problem

# Two sums of the same seconds in another order differ by less than this share of them.
ROUNDING = 1e-9


def check_plan(problem: Problem, plan: Plan) -> list[str]:
    """Everything that a plan breaks, a line each; nothing of the solver is used.

    Args:
        problem: with explicit candidates.
    """
    if not 0 <= plan.candidate < len(problem.candidates):
        return [f"candidate {plan.candidate} is none of {len(problem.candidates)}"]
    candidate = problem.candidates[plan.candidate]
    lines = list(_candidate_lines(problem, candidate, plan))
    if len(plan.allocation) != len(problem.tiers):
        return [*lines, f"allocation has {len(plan.allocation)} numbers"]
    lines += _budget_lines(problem, plan)
    if plan.deployments:
        lines += _deployment_lines(problem, candidate, plan)
    if not lines:
        lines += _value_lines(problem, candidate, plan)
    return lines


def check_placement(problem: Problem, plan: Plan) -> list[str]:
    """Everything that is wrong with where a plan puts its replicas, a line each."""
    lines = [
        f"placement[{index}]: {line}" for index, line in misplaced(plan.placement, problem.cluster)
    ]
    for want in plan.deployments:
        number = sum(want.matches(replica) for replica in plan.placement)
        if number != want.replicas:
            lines.append(f"{number} replicas of pool {want.pool!r} are placed of {want.replicas}")
    if len(plan.placement) != sum(want.replicas for want in plan.deployments):
        lines.append(f"{len(plan.placement)} replicas are placed")
    return lines


def _candidate_lines(problem: Problem, candidate: Candidate, plan: Plan) -> Iterator[str]:
    if plan.thresholds != candidate.thresholds or plan.quality != candidate.quality:
        yield "thresholds and quality are not those of the candidate"
    if problem.quality_floor is not None and candidate.quality < problem.quality_floor:
        yield f"quality {candidate.quality} is below the floor {problem.quality_floor}"


def _budget_lines(problem: Problem, plan: Plan) -> Iterator[str]:
    counts = {
        pool: {plan.allocation[tier] for tier in problem.tiers_of(pool)} for pool in problem.pools
    }
    for pool, numbers in counts.items():
        if len(numbers) > 1:
            yield f"tiers of pool {pool!r} have different counts {sorted(numbers)}"
    taken = sum(max(numbers) for numbers in counts.values())
    if taken > problem.gpu_budget:
        yield f"{taken} GPUs are taken of a budget of {problem.gpu_budget}"


def _deployment_lines(problem: Problem, candidate: Candidate, plan: Plan) -> Iterator[str]:
    if [deployment.pool for deployment in plan.deployments] != problem.pools:
        yield "deployments are not one a pool, in their order"
        return
    for deployment in plan.deployments:
        if deployment not in candidate.deployments or not fits(problem, deployment):
            yield f"deployment of pool {deployment.pool!r} is none of the candidate's that fit"
        if any(
            plan.allocation[tier] != deployment.gpus for tier in problem.tiers_of(deployment.pool)
        ):
            yield f"allocation of pool {deployment.pool!r} is not what its replicas take"
    for kind in problem.cluster:
        taken = sum(
            deployment.gpus for deployment in plan.deployments if deployment.gpu == kind.gpu
        )
        if taken > kind.nodes * kind.gpus_per_node:
            yield f"{taken} GPUs of type {kind.gpu!r} are taken"


def _value_lines(problem: Problem, candidate: Candidate, plan: Plan) -> Iterator[str]:
    latencies = []
    by_pool = {deployment.pool: deployment for deployment in plan.deployments}
    for index, (tier, gpus) in enumerate(zip(problem.tiers, plan.allocation, strict=True)):
        table: dict[int, float] = candidate.latency_s[index] if not by_pool else {}
        if by_pool:
            latencies.append(by_pool[tier.pool_name].latency_s[tier.name])
        elif gpus in table:
            latencies.append(table[gpus])
        else:
            yield f"{gpus} GPUs are not in the table of tier {tier.name!r}"
            return
    if problem.objective == "bottleneck":
        value_s = max(latencies)
    else:
        value_s = sum(s * latency for s, latency in zip(candidate.shares, latencies, strict=True))
    value_s += sum(switching_s(problem, deployment) for deployment in plan.deployments)
    if abs(value_s - plan.objective_s) > ROUNDING * max(1.0, value_s):
        yield f"objective_s is {plan.objective_s}, recomputed {value_s}"
    if plan.bound_s > plan.objective_s * (1 + ROUNDING):
        yield f"bound_s {plan.bound_s} is above objective_s {plan.objective_s}"
    if abs(plan.gap - gap_of(plan.objective_s, plan.bound_s)) > ROUNDING:
        yield f"gap is {plan.gap}, recomputed {gap_of(plan.objective_s, plan.bound_s)}"
