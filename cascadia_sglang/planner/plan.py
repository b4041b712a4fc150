"""A plan as it is written out, and the check that recomputes it from the problem alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from cascadia_sglang.planner.columns import fits, switching_s
from cascadia_sglang.planner.problem import Candidate, Deployment, Method, Problem, RunningReplica
from cascadia_sglang.planner.setup import Setup

# `optimal` is proved; `feasible` keeps budget and floor, and something better may exist;
# `time_limit` is what the solver had when its time was over.
Status = Literal["optimal", "feasible", "time_limit"]

# Two sums of the same seconds in another order differ by less than this share of them.
ROUNDING = 1e-9


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that starts, or that goes to other devices so that another finds room.

    `cost_s` is what `switching_cost_s` of the problem says; of a move it is not in the objective.
    """

    kind: Literal["start", "move"]
    replica: RunningReplica
    cost_s: float


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What the half of the sample that chose nothing says of the quality.

    With probability `confidence` over samples, the quality is at least `lower_bound`.
    """

    quality: float
    lower_bound: float
    confidence: float
    rows: int


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """How the thresholds were found.

    `rounds` are the method's own steps: boxes of `exact`, searches along one tier's thresholds of
    `penalty`, points on the front of `chebyshev`. `best_s` is the least objective at the floor
    over all thresholds of the exact method's grid, found by looking at `boxes` of them with
    `deployments` deployments solved.
    """

    method: Method
    rounds: int
    best_s: float
    boxes: int
    deployments: int


class FrontPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Thresholds that none of the front beats in both, with the best deployment's latency."""

    thresholds: list[float]
    quality: float
    latency_s: float


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulation of the whole cascade says, as it would be served.

    `objective_s` is what the problem minimises, in this run: the p95 of the slowest tier's
    attempts, or the mean end to end. `e2e_ms` and `ttft_ms` hold `mean`, `p50`, `p95` and `p99`,
    `busy` the share of time that each tier's replicas work, null where another tier's serve it.
    `neighbours` counts the plans that were simulated beside this one and did no better.
    """

    objective_s: float
    requests: int
    answered: int
    rate_per_s: float
    e2e_ms: dict[str, float | None]
    ttft_ms: dict[str, float | None]
    slo_attainment: float
    goodput_per_s: float
    busy: list[float | None]
    neighbours: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A solved problem: thresholds, GPUs per tier, and a bound on any better plan.

    A plan from a workload was chosen by a simulation of the whole cascade. Then `objective_s`,
    `bound_s` and `gap` come from latencies of single replicas.
    """

    thresholds: list[float]
    """One number per tier but the last."""
    allocation: list[int]
    """GPUs of every tier. Tiers of one pool show the same GPUs."""
    objective_s: float
    """What the problem minimises, in seconds, switching included."""
    quality: float
    """Share of right answers."""
    bound_s: float
    """No plan is below this: of the candidates, or of the thresholds on the exact grid."""
    gap: float
    """(objective_s - bound_s) / max(objective_s, 1e-9)."""
    status: Status
    """`optimal`: proved. `feasible`: a better plan may exist. `time_limit`: the best so far."""
    solve_s: float
    """Seconds that the planner took."""
    candidate: int
    """Index among the problem's candidates."""
    shares: list[float]
    """Share of requests that reach each tier."""
    switching_s: float = 0.0
    """Part of the objective that the starts of replicas cost, in seconds."""
    deployments: list[Deployment] = []
    """Shape and replicas of each pool."""
    placement: list[RunningReplica] = []
    """The devices of each replica."""
    moves: list[Move] = []
    """Replicas to start, or to move so that another replica finds room."""
    search: Search | None = None
    """How the thresholds were searched."""
    certificate: Certificate | None = None
    """What the sample shows of the quality."""
    front: list[FrontPoint] = []
    """Thresholds that no others beat in both quality and latency."""
    setup: Setup | None = None
    """The simulated cascade, for `cascadia simulate`."""
    simulated: Simulated | None = None
    """Results of the simulation."""


class NoPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The answer where there is no plan; `tier` is the one that lacks GPUs, where one does.

    `not_shown`: there are plans, but the sample does not certify that they keep the quality floor.
    """

    status: Literal["infeasible", "not_shown", "time_limit"]
    reason: str
    tier: str | None = None
    lacks_gpus: int = 0


def gap_of(objective_s: float, bound_s: float) -> float:
    """Share of the objective that a better plan could at most save."""
    return (objective_s - bound_s) / max(objective_s, 1e-9)


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


def _candidate_lines(problem: Problem, candidate: Candidate, plan: Plan) -> Iterator[str]:
    if plan.thresholds != candidate.thresholds or plan.quality != candidate.quality:
        yield "thresholds and quality are not those of the candidate"
    if problem.quality_floor is not None and candidate.quality < problem.quality_floor:
        yield f"quality {candidate.quality} is below the floor {problem.quality_floor}"


def _budget_lines(problem: Problem, plan: Plan) -> Iterator[str]:
    counts = {
        pool: {plan.allocation[tier] for tier in problem.tiers_of(pool)} for pool in problem.pools
    }
    for pool, found in counts.items():
        if len(found) > 1:
            yield f"tiers of pool {pool!r} have different counts {sorted(found)}"
    taken = sum(max(found) for found in counts.values())
    if taken > problem.gpu_budget:
        yield f"{taken} GPUs are taken of a budget of {problem.gpu_budget}"


def _deployment_lines(problem: Problem, candidate: Candidate, plan: Plan) -> Iterator[str]:
    if [one.pool for one in plan.deployments] != problem.pools:
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
        taken = sum(one.gpus for one in plan.deployments if one.gpu == kind.gpu)
        if taken > kind.nodes * kind.gpus_per_node:
            yield f"{taken} GPUs of type {kind.gpu!r} are taken"


def _value_lines(problem: Problem, candidate: Candidate, plan: Plan) -> Iterator[str]:
    latencies = []
    by_pool = {one.pool: one for one in plan.deployments}
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
