"""Refines a plan: simulates it and its nearest neighbours, and keeps the best.

Surfaces look at one replica of one tier with the workload's own arrivals; in a run of the cascade
requests wait in one tier after the other, go to the replica with the fewest attempts, and share
prefixes only where they meet. So the plan that a run favours is taken, and says what that run said.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.columns import Columns
from cascadia_sglang.planner.outcome import SimulationResult
from cascadia_sglang.planner.placement import place
from cascadia_sglang.planner.plan import CascadeSimulation, Plan, gap_of
from cascadia_sglang.planner.problem import Deployment, Objective, Problem
from cascadia_sglang.planner.profile import Profile
from cascadia_sglang.planner.run_setup import run_scenario
from cascadia_sglang.planner.setup import Scenario, ScenarioTier
from cascadia_sglang.planner.shape_latencies import ShapeLatencies
from cascadia_sglang.planner.tables import Run
from cascadia_sglang.planner.workload import Workload

NEIGHBOURS = 20
# Worths of two runs that differ by less than this share are taken for alike.
ALIKE = 0.01
# Requests, from the workload's start, by which they are told apart at most, and the tokens of their
# answers; the best then has all.
TRIAL_REQUESTS, TRIAL_TOKENS = 2_500, 600_000
# Ways to run a pool that are looked at for neighbours of a plan that change two pools.
_FEW = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialJob:
    """A set-up to run."""

    setup: Scenario
    workload: Workload
    objective: Objective


def trial_of(job: TrialJob) -> CascadeSimulation:
    """Run a set-up, and say what it came to."""
    profile = job.setup.profile
    if isinstance(profile, str):
        raise TypeError("the profile of a set-up under trial is a path")
    outcome = run_scenario(job.setup, profile, job.workload)
    return simulated(outcome, job.setup, job.workload, job.objective)


def simulated(
    outcome: SimulationResult, setup: Scenario, workload: Workload, objective: Objective
) -> CascadeSimulation:
    """What a plan says of a run."""
    told = outcome.summary(setup.slo)
    p95_s_T = [
        float(np.quantile(seconds_R[np.isfinite(seconds_R)], 0.95))
        for seconds_R in outcome.attempt_e2e_s_RT.T
        if np.isfinite(seconds_R).any()
    ]
    worth_s = max(p95_s_T, default=math.inf) if objective == "bottleneck" else outcome.mean_s()
    if not outcome.is_done.all():
        worth_s = math.inf
    return CascadeSimulation(
        objective_s=worth_s,
        requests=told["requests"],
        answered=told["answered"],
        rate_per_s=workload.rate_per_s,
        e2e_ms=told["e2e_ms"],
        ttft_ms=told["ttft_ms"],
        slo_attainment=told["slo_attainment"],
        goodput_per_s=told["goodput_per_s"],
        busy=[tier["busy"] for tier in told["tiers"]],
    )


def refined(
    problem: Problem, plan: Plan, latencies: ShapeLatencies, workload: Workload, run: Run
) -> Plan:
    """Simulate a plan and its best neighbours whole, take the best, and place it.

    Raises:
        InfeasiblePlanError: if none of them can be placed on the nodes.
    """
    columns, deployments = latencies.deployments(plan.shares)
    start = [deployments.index(one) for one in plan.deployments]
    plans: list[Plan] = []
    refused: InfeasiblePlanError | None = None
    for picks in [start, *neighbours(columns, start)]:
        picked = [deployments[pick] for pick in picks]
        try:
            plans.append(place(problem, _with(problem, plan, columns, picks, picked)))
        except InfeasiblePlanError as error:
            refused = refused or error
    if not plans and refused is not None:
        raise refused
    setups = [setup_of(problem, one, latencies) for one in plans]
    few = workload.count_within(TRIAL_REQUESTS, TRIAL_TOKENS)
    part = workload.part(0, few) if len(workload) > few else workload
    results: list[CascadeSimulation] = run(
        trial_of,
        [TrialJob(setup=one, workload=part, objective=problem.objective) for one in setups],
    )
    worths = [
        found.objective_s + one.switching_s for found, one in zip(results, plans, strict=True)
    ]
    best = _best(worths, results)
    told = results[best]
    if part is not workload:
        job = TrialJob(setup=setups[best], workload=workload, objective=problem.objective)
        (told,) = run(trial_of, [job])
    return msgspec.structs.replace(
        plans[best],
        setup=msgspec.structs.replace(setups[best], workload=problem.workload),
        simulated=msgspec.structs.replace(told, neighbours=len(plans) - 1),
    )


def _best(worths: Sequence[float], results: Sequence[CascadeSimulation]) -> int:
    """The least worth; of those hardly above it, which a slowest tier makes alike, the one whose
    requests take the least time on average; the first of equals."""
    within = min(worths) * (1 + ALIKE)
    alike = [index for index, worth in enumerate(worths) if worth <= within]
    means = [results[index].e2e_ms["mean"] or math.inf for index in alike]
    return alike[means.index(min(means))]


def neighbours(columns: Columns, picks: Sequence[int], number: int = NEIGHBOURS) -> list[list[int]]:
    """The best plans that differ from one in one pool or two, by the columns' own values.

    Of equals, as the slowest tier makes many, those whose other tiers are faster come first.

    Args:
        columns: of one candidate.
    """
    by_pool = [np.flatnonzero(columns.pool_C == pool).tolist() for pool in range(columns.pools)]
    few = [
        sorted(ways, key=lambda way: (columns.value_C[way], way))[:_FEW]
        + [way for way in ways if columns.uses_CR[way].max() <= columns.uses_CR[pick].max()][-_FEW:]
        for ways, pick in zip(by_pool, picks, strict=True)
    ]
    found: set[tuple[int, ...]] = set()
    for pool, ways in enumerate(by_pool):
        for way in ways:
            found.add((*picks[:pool], way, *picks[pool + 1 :]))
    for first, second in itertools.combinations(range(columns.pools), 2):
        for one, other in itertools.product(few[first], few[second]):
            changed = list(picks)
            changed[first], changed[second] = one, other
            found.add(tuple(changed))
    found.discard(tuple(picks))
    fitting = [
        list(one)
        for one in found
        if (columns.uses_CR[list(one)].sum(axis=0) <= columns.capacity_R).all()
    ]

    def rank(one: list[int]) -> tuple[float, float, list[int]]:
        return columns.objective_s(one), float(columns.value_C[one].sum()), one

    return sorted(fitting, key=rank)[:number]


def setup_of(problem: Problem, plan: Plan, latencies: ShapeLatencies) -> Scenario:
    """What to simulate of a plan, with the step times of its shapes."""
    times, limits, tiers = {}, {}, []
    measured = []
    for tier, share in zip(problem.tiers, plan.shares, strict=True):
        deployment = next(one for one in plan.deployments if one.pool == tier.pool_name)
        shape = latencies.shape_of(deployment).of_tier(tier.name)
        times[tier.name], limits[tier.name] = shape.times, shape.limits
        measured.append(shape.is_measured)
        tiers.append(
            ScenarioTier(
                name=tier.name,
                pool=tier.pool,
                block=tier.block,
                replicas=deployment.replicas,
                share=share,
                length=tier.length,
                kept=tier.kept,
                stages=deployment.pp_size,
            )
        )
    told = ", ".join(f"{one.gpus} {one.gpu}" for one in plan.deployments)
    profile = Profile(
        version=1,
        device=told,
        source="measured" if all(measured) else "roofline",
        tiers=times,
        limits=limits,
    )
    return Scenario(
        version=1, profile=profile, tiers=tiers, slo=problem.slo, seed=problem.routing.seed
    )


def _with(
    problem: Problem, plan: Plan, columns: Columns, picks: list[int], picked: list[Deployment]
) -> Plan:
    """A plan with these deployments, one a pool, in place of its own."""
    objective_s = columns.objective_s(picks)
    by_pool = {one.pool: one.gpus for one in picked}
    is_best = objective_s <= plan.objective_s
    return msgspec.structs.replace(
        plan,
        deployments=picked,
        allocation=[by_pool[tier.pool_name] for tier in problem.tiers],
        objective_s=objective_s,
        gap=gap_of(objective_s, plan.bound_s),
        status="feasible" if plan.status == "optimal" and not is_best else plan.status,
        switching_s=float(columns.switching_C[picks].sum()),
    )
