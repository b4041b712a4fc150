"""Ways to serve that the paper's experiments set beside Cascadia's plan, each ready to run.

Every one is planned for the same quality floor on the same sample, has the same GPUs and step
times, and is run by the same simulator on the same requests; `paper.md` says what each stands for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from cascadia_sglang.arrays import IntArray
from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.deployment.columns import Columns
from cascadia_sglang.planner.deployment.incumbent import best_picks
from cascadia_sglang.planner.from_workload import plan_on_surfaces
from cascadia_sglang.planner.latency.simulated import PoolSurfaces, ShapeLatencies
from cascadia_sglang.planner.plan import Plan
from cascadia_sglang.planner.problem.problem import Deployment, Problem
from cascadia_sglang.planner.progress import JobRunner
from cascadia_sglang.planner.simulation.paths import Paths, direct_paths, shared_paths
from cascadia_sglang.planner.simulation.tiers import SimulatedTier
from cascadia_sglang.planner.thresholds.replay import build_sample
from cascadia_sglang.planner.thresholds.search import choose_and_allocate
from cascadia_sglang.planner.workload.workload import Workload

# Gears: the rate of the last seconds over the mean up to which each is in, and how far its floor is
# from the quality floor.
GEAR_WINDOW_S = 10.0
GEARS = ((0.9, 0.01), (1.15, 0.0), (math.inf, -0.01))
CHUNKS = (2048, 4096, 8192, 16384)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is to be served, with all that is known of latency."""

    problem: Problem
    workload: Workload
    surfaces: PoolSurfaces

    @property
    def latencies(self) -> ShapeLatencies:
        return self.latencies_of(self.surfaces)

    def latencies_of(self, surfaces: PoolSurfaces) -> ShapeLatencies:
        """The same with other shapes."""
        return ShapeLatencies(self.problem, surfaces, self.workload.rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPlan:
    """A way to serve: `quality` is expected, on the sample; `shapes` are named in a few words."""

    tiers: Sequence[SimulatedTier]
    paths: Paths
    quality: float
    shapes: str


def cascadia(case: Case) -> ServingPlan:
    """The planner's own plan, chosen by whole simulations."""
    return _planned(case, case.surfaces)


def cascadia_bottleneck(case: Case) -> ServingPlan:
    """The same for the paper's objective: the slowest tier's p95, and not the mean of requests."""
    problem = msgspec.structs.replace(case.problem, objective="bottleneck")
    return _planned(dataclasses.replace(case, problem=problem), case.surfaces)


def uniform_parallelism(case: Case) -> ServingPlan:
    """Every replica as wide as its heads and a node allow; counts and thresholds are planned."""
    widest = {
        pool: [max((way for way in surface if way[0].pp == 1), key=lambda way: way[0].tp)]
        for pool, surface in case.surfaces.items()
    }
    return _planned(case, widest)


def uniform_gpus(case: Case) -> ServingPlan:
    """The same GPUs for every tier, the rest for the last; shapes and thresholds are planned."""
    problem = case.problem
    each = problem.gpu_budget // len(problem.tiers)
    counts = [each] * (len(problem.tiers) - 1)
    counts.append(problem.gpu_budget - sum(counts))
    limits = dict(zip(problem.pools, counts, strict=True))
    capped = _CappedLatencies(problem, case.surfaces, case.workload.rate_per_s, limits)
    return _run_as(case, choose_and_allocate(problem, capped, time_limit_s=10.0), capped)


def fixed_thresholds(case: Case) -> ServingPlan:
    """One threshold for all tiers, the least at the floor; the deployment is planned.

    Raises:
        InfeasiblePlanError: if no threshold reaches the floor, or no deployment carries it.
    """
    problem, sample = case.problem, build_sample(case.problem.calibration)
    for threshold in np.linspace(0, 1, 401).tolist():
        thresholds = [threshold] * (len(problem.tiers) - 1)
        quality = sample.mean(sample.answered(thresholds))
        if quality >= (problem.quality_floor or 0.0):
            waits_NS = np.cumprod(sample.scores_NS < threshold, axis=1)
            shares = [1.0, *(sample.mean(waits_N.astype(float)) for waits_N in waits_NS.T)]
            columns, deployments = case.latencies.deployments(shares)
            picks = best_picks(columns, 0)
            if picks is None:
                raise InfeasiblePlanError("no deployment carries the fixed threshold")
            picked = [deployments[pick] for pick in picks]
            return _served(case, shares, picked, case.latencies, quality)
    raise InfeasiblePlanError("no threshold for all tiers reaches the floor")


def gears(case: Case) -> ServingPlan:
    """After CascadeServe (arXiv 2406.14424): a placement for good, thresholds by the load.

    Replicas have the fewest devices that hold the model, as many of each tier as balance the load
    at the floor. A gear for a higher load escalates less; it is in by the rate of the last seconds.
    The search over cascades and the queue-length rule of the original are not rebuilt.

    Raises:
        InfeasiblePlanError: if no thresholds at the floor can be served.
    """
    problem = case.problem
    smallest = {
        pool: [min(surface, key=lambda way: (way[0].gpus, -way[0].tp))]
        for pool, surface in case.surfaces.items()
    }
    narrow = case.latencies_of(smallest)
    middle = choose_and_allocate(problem, narrow, time_limit_s=10.0)
    plans = [_at(problem, narrow, distance, middle) for _, distance in GEARS]
    counts = _balanced(case, smallest, middle.shares)
    deployments = [
        msgspec.structs.replace(deployment, replicas=count)
        for deployment, count in zip(middle.deployments, counts, strict=True)
    ]
    served = _served(case, middle.shares, deployments, narrow, middle.quality)
    gear_R = _gear_of(case.workload)
    last_R = np.choose(gear_R, [_paths(case, plan.shares).last_tier_R for plan in plans])
    return dataclasses.replace(
        served,
        paths=dataclasses.replace(served.paths, last_tier_R=last_R),
        quality=float(np.mean([plans[gear].quality for gear in gear_R])),
    )


def alone(case: Case, tier: int, chunk_tokens: int) -> list[ServingPlan]:
    """A tier with all GPUs, in every shape, with this chunked-prefill size."""
    problem, sample = case.problem, build_sample(case.problem.calibration)
    quality = sample.mean(sample.correct_NT[:, tier])
    ways = []
    for shape, _ in case.surfaces[problem.tiers[tier].pool_name]:
        replicas = problem.gpu_budget // shape.gpus
        limits = msgspec.structs.replace(
            shape.limits, chunked_prefill_tokens=chunk_tokens, max_prefill_tokens=16384
        )
        simulated = SimulatedTier(
            name=problem.tiers[tier].name,
            times=shape.times,
            limits=limits,
            replicas=replicas,
            stages=shape.pp,
        )
        shapes = f"{replicas} x (tp {shape.tp}, pp {shape.pp}), chunk {chunk_tokens}"
        paths = direct_paths(case.workload)
        ways.append(ServingPlan(tiers=[simulated], paths=paths, quality=quality, shapes=shapes))
    return ways


class _CappedLatencies(ShapeLatencies):
    """Latencies of deployments in which no pool has more than its own GPUs."""

    def __init__(
        self, problem: Problem, surfaces: PoolSurfaces, rate_per_s: float, limits: dict[str, int]
    ) -> None:
        super().__init__(problem, surfaces, rate_per_s)
        self._limits_P = np.array([limits[pool] for pool in problem.pools])

    def columns(self, shares: Sequence[float]) -> tuple[Columns, IntArray]:
        columns, ways_C = super().columns(shares)
        kept_C = columns.uses_CR.max(axis=1) <= self._limits_P[columns.pool_C]
        return columns.only(kept_C), ways_C[kept_C]


def _planned(case: Case, surfaces: PoolSurfaces) -> ServingPlan:
    plan = plan_on_surfaces(case.problem, case.workload, surfaces, JobRunner())
    return _run_as(case, plan, case.latencies_of(surfaces))


def _run_as(case: Case, plan: Plan, latencies: ShapeLatencies) -> ServingPlan:
    return _served(case, plan.shares, plan.deployments, latencies, plan.quality)


def _served(
    case: Case,
    shares: Sequence[float],
    deployments: Sequence[Deployment],
    latencies: ShapeLatencies,
    quality: float,
) -> ServingPlan:
    tiers = []
    for tier, deployment in zip(case.problem.tiers, deployments, strict=True):
        shape = latencies.shape_of(deployment)
        tiers.append(
            SimulatedTier(
                name=tier.name,
                times=shape.times,
                limits=shape.limits,
                replicas=deployment.replicas,
                stages=deployment.pp_size,
            )
        )
    shapes = ", ".join(
        f"{deployment.replicas} x (tp {deployment.tp_size}, pp {deployment.pp_size})"
        for deployment in deployments
    )
    return ServingPlan(tiers=tiers, paths=_paths(case, shares), quality=quality, shapes=shapes)


def _paths(case: Case, shares: Sequence[float]) -> Paths:
    lengths = [tier.length for tier in case.problem.tiers]
    return shared_paths(case.workload, shares, lengths, None, 0)


def _at(problem: Problem, latencies: ShapeLatencies, distance: float, otherwise: Plan) -> Plan:
    """The plan at a floor beside the problem's own; another where none can be served."""
    floor = min(1.0, max(0.0, (problem.quality_floor or 0.0) + distance))
    moved = msgspec.structs.replace(problem, quality_floor=floor)
    try:
        return choose_and_allocate(moved, latencies, time_limit_s=10.0)
    except InfeasiblePlanError:
        return otherwise


def _balanced(case: Case, smallest: PoolSurfaces, shares: Sequence[float]) -> list[int]:
    """Replicas of each tier: one at a time to the tier whose replicas would be the busiest."""
    tiers = case.problem.tiers
    ways = [smallest[tier.pool_name][0] for tier in tiers]
    load = [
        share * case.workload.rate_per_s / surfaces[0].saturation_per_s
        for share, (_, surfaces) in zip(shares, ways, strict=True)
    ]
    counts = [1] * len(tiers)
    free_gpus = case.problem.gpu_budget - sum(shape.gpus for shape, _ in ways)
    while True:
        busiest = sorted(range(len(tiers)), key=lambda tier: -load[tier] / counts[tier])
        fitting = [tier for tier in busiest if ways[tier][0].gpus <= free_gpus]
        if not fitting:
            return counts
        counts[fitting[0]] += 1
        free_gpus -= ways[fitting[0]][0].gpus


def _gear_of(workload: Workload) -> IntArray:
    """The gear that is in when each request comes, [R]."""
    at_R = workload.arrival_s_R
    before_R = np.arange(len(at_R)) - np.searchsorted(at_R, at_R - GEAR_WINDOW_S)
    window_s_R = np.maximum(1e-9, np.minimum(at_R, GEAR_WINDOW_S))
    relative_R = before_R / window_s_R / workload.rate_per_s
    # Before the first window is full the mean rate counts.
    relative_R = np.where(at_R < GEAR_WINDOW_S, 1.0, relative_R)
    gear_R: IntArray = np.searchsorted([limit for limit, _ in GEARS], relative_R).astype(np.int64)
    return gear_R


# By the names that tables and rows use.
RIVALS: dict[str, Callable[[Case], ServingPlan]] = {
    "Cascadia": cascadia,
    "Cascadia, bottleneck": cascadia_bottleneck,
    "uniform GPUs": uniform_gpus,
    "uniform parallelism": uniform_parallelism,
    "one threshold": fixed_thresholds,
    "gears": gears,
}
