"""A plan from a workload: surfaces, thresholds and deployments, and a choice by whole simulation.

Surfaces look at one replica of one tier with the workload's own arrivals. In a run of the cascade
requests wait in one tier after the other, go to the replica with the fewest attempts, and share
prefixes only where they meet. So the surfaces say which plans are worth a run, and the runs choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from cascadia_sglang.errors import InfeasiblePlanError, PlanTimeoutError
from cascadia_sglang.planner.latency.build_surfaces import build_surfaces
from cascadia_sglang.planner.latency.shapes import shapes_of_pools
from cascadia_sglang.planner.latency.simulated import PoolSurfaces, ShapeLatencies
from cascadia_sglang.planner.latency.surfaces import ParallelShape
from cascadia_sglang.planner.plan import LeastCost, LeftOver, Plan, Sweep, gap_of
from cascadia_sglang.planner.problem.problem import LatencyObjective, Problem
from cascadia_sglang.planner.progress import JobRunner
from cascadia_sglang.planner.thresholds.frontier import ThresholdPoint, frontier
from cascadia_sglang.planner.thresholds.replay import Replay, build_sample, threshold_grid
from cascadia_sglang.planner.thresholds.sample_facts import sample_facts
from cascadia_sglang.planner.thresholds.search import choose_and_allocate
from cascadia_sglang.planner.whole.choice import PlanChoice, choice_of
from cascadia_sglang.planner.whole.fewest import (
    Fewest,
    cost_of,
    fewest,
    incumbent,
    meets_targets,
    rungs_of,
    slo_points,
)
from cascadia_sglang.planner.whole.ladder import Ladder, candidates, of_objective, rungs
from cascadia_sglang.planner.whole.neighbours import neighbours
from cascadia_sglang.planner.whole.relaxation import relaxed_bound
from cascadia_sglang.planner.whole.runs import Best, ChoiceRun, ChoiceRuns
from cascadia_sglang.planner.whole.sweep import sweep
from cascadia_sglang.planner.workload.source import WorkloadSource, load_workload
from cascadia_sglang.planner.workload.workload import Workload

# Neighbours of a plan that are simulated where a ladder would take too long.
NEIGHBOURS = 20

PoolShapes = Mapping[str, Sequence[ParallelShape]]


def plan_of_source(problem: Problem, runner: JobRunner, *, with_front: bool = False) -> Plan:
    """Solve a checked problem with a workload.

    Raises:
        As `solve` of `cascadia_sglang.planner.solve`.
    """
    workload = load_workload(problem.workload or WorkloadSource())
    return plan_of_workload(problem, workload, runner, with_front=with_front)


def sweep_of_source(problem: Problem, runner: JobRunner) -> Sweep:
    """What every number of GPUs gives, of a checked problem with a workload."""
    workload = load_workload(problem.workload or WorkloadSource())
    shapes = shapes_of_pools(problem, workload)
    surfaces = build_surfaces(problem, workload, shapes, runner)
    planning = prepared(problem, workload, surfaces, runner, shapes=shapes)
    return sweep(problem, planning.runs, planning.ladders)


def plan_of_workload(
    problem: Problem, workload: Workload, runner: JobRunner, *, with_front: bool = False
) -> Plan:
    """The best plan of a problem with a calibration sample and a cluster, for these requests."""
    shapes = shapes_of_pools(problem, workload)
    surfaces = build_surfaces(problem, workload, shapes, runner)
    planning = prepared(problem, workload, surfaces, runner, shapes=shapes, with_front=with_front)
    return _best_plan(planning)


def plan_on_surfaces(
    problem: Problem, workload: Workload, surfaces: PoolSurfaces, runner: JobRunner
) -> Plan:
    """The best plan of these shapes, whose surfaces are known."""
    return _best_plan(prepared(problem, workload, surfaces, runner))


def _best_plan(planning: Planning) -> Plan:
    problem = planning.problem
    if problem.objective == "slo":
        return _of_least_cost(planning)
    return _of_least_latency(planning, problem.least_gain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """A problem whose surfaces are known.

    Attributes:
        start: the best plan on the surfaces.
        points: of thresholds to choose from.
        ladders: the best plans on the surfaces by what their GPUs cost, of the problem's objective
            first, then of the other; none where there are too many GPUs of too many types.
    """

    problem: Problem
    latencies: ShapeLatencies
    start: Plan
    points: list[ThresholdPoint]
    ladders: list[Ladder]
    runs: ChoiceRuns

    def candidates(self) -> list[PlanChoice]:
        """The plans that are worth a run."""
        if self.ladders:
            progress = self.runs.runner.progress
            return candidates(
                self.ladders, self.ladders[0], rungs(self.ladders), lambda: progress.is_over
            )
        columns, deployments = self.latencies.deployments(self.start.shares)
        picks = [deployments.index(deployment) for deployment in self.start.deployments]
        most = columns.capacity_R.tolist()
        near = neighbours(columns, picks, columns.uses_CR, most, NEIGHBOURS)
        return [
            choice_of(columns, deployments, columns_picked, self.points[0])
            for columns_picked in (picks, *near)
        ]


def surfaces_of(problem: Problem, workload: Workload, runner: JobRunner) -> PoolSurfaces:
    """Simulate what the deployment level needs to know of every shape.

    Raises:
        ConfigError: if a model or a profile cannot be read, or a type of GPU is unknown.
        InfeasiblePlanError: if a tier has no shape.
    """
    return build_surfaces(problem, workload, shapes_of_pools(problem, workload), runner)


def prepared(
    problem: Problem,
    workload: Workload,
    surfaces: PoolSurfaces,
    runner: JobRunner,
    *,
    shapes: PoolShapes | None = None,
    with_front: bool = False,
) -> Planning:
    """Find the best plan on the surfaces, and what else is worth a run.

    Args:
        shapes: that plans may have, also those whose surfaces were not built in time; None for
            those of the surfaces.
    """
    latencies = ShapeLatencies(problem, surfaces, workload.rate_per_s)
    runner.progress.begin("thresholds", 1)
    try:
        start = choose_and_allocate(
            problem, latencies, time_limit_s=runner.progress.left_s, with_front=with_front
        )
    except InfeasiblePlanError as error:
        if runner.progress.is_over:
            # Shapes whose surfaces were not built may have done.
            raise PlanTimeoutError(f"no plan was found in time: {error}") from error
        raise
    own_point = ThresholdPoint(
        thresholds=tuple(start.thresholds), shares=tuple(start.shares), quality=start.quality
    )
    points = [own_point]
    sample = build_sample(problem.calibration)
    # Thresholds of another search, or that are certified, stay as they were chosen.
    if problem.routing.method == "exact" and start.certificate is None:
        replay = Replay(sample, threshold_grid(sample, problem.routing.quantiles))
        points = frontier(replay, problem.quality_floor or 0.0) or points
    both: list[LatencyObjective] = ["path", "bottleneck"]
    both.sort(key=lambda objective: objective != problem.latency_objective)
    ladders = [of_objective(latencies, points, objective) for objective in both]
    if not all(ladder.has_plan for ladder in ladders):
        ladders, points = [], [own_point]
    runs = ChoiceRuns(problem, latencies, workload, runner)
    known_shapes = {pool: latencies.shapes_of(pool) for pool in problem.pools}
    start = msgspec.structs.replace(
        start,
        bound_of="surfaces",
        relaxed=relaxed_bound(
            problem,
            runs.least,
            known_shapes if shapes is None else shapes,
            points,
            runs.late_s,
        ),
    )
    if shapes is not None and any(
        len(shapes[pool]) > len(known_shapes[pool]) for pool in known_shapes
    ):
        # Of shapes without surfaces nothing is known.
        start = msgspec.structs.replace(start, bound_s=0.0, gap=gap_of(start.objective_s, 0.0))
    return Planning(
        problem=problem,
        latencies=latencies,
        start=start,
        points=points,
        ladders=ladders,
        runs=runs,
    )


def latencies_of_source(problem: Problem, runner: JobRunner) -> ShapeLatencies:
    """Latencies of a checked problem with a workload."""
    workload = load_workload(problem.workload or WorkloadSource())
    surfaces = surfaces_of(problem, workload, runner)
    return ShapeLatencies(problem, surfaces, workload.rate_per_s)


def _of_least_latency(planning: Planning, least_gain: float) -> Plan:
    choices = planning.candidates()
    best = Best(runs=planning.runs, plan=planning.start, least_gain=least_gain)
    planning.runs.runner.progress.begin("simulating plans", len(choices))
    is_complete = best.search(choices)
    chosen = best.chosen()
    if chosen is None:
        raise best.refused or InfeasiblePlanError("no plan answers every request")
    run, plan = chosen
    plan = _finished(planning, run, plan, len(choices))
    gain = 1.0 - best.best_s / run.value_s if run.value_s > 0 else 0.0
    if plan.left_over is not None:
        left_over = msgspec.structs.replace(plan.left_over, gain=gain)
        plan = msgspec.structs.replace(plan, left_over=left_over)
    return plan if is_complete else msgspec.structs.replace(plan, status="time_limit")


def _of_least_cost(planning: Planning) -> Plan:
    problem, runs = planning.problem, planning.runs
    points, best_known = planning.points[:1], None
    if planning.ladders:
        ladder = planning.ladders[0]
        others = planning.candidates()
        best_known = incumbent(runs, ladder, rungs_of(ladder), others, planning.start)
        level = ladder.last
        if best_known is not None:
            level = ladder.level_of(cost_of(problem, best_known[0].choice))
        points = slo_points(planning.latencies, planning.points, ladder, level)
    search = fewest(runs, planning.latencies, points, planning.start, best_known)
    if search.run is None or search.plan is None:
        # None meets the targets: the plan of least latency, whose attainment says what is missing.
        return _of_least_latency(planning, least_gain=0.0)
    plan = _finished(planning, search.run, search.plan, max(1, search.simulated))
    return msgspec.structs.replace(
        plan,
        least_cost=_least_cost(problem, search.run, search, points),
        status="optimal" if search.is_complete else "time_limit",
    )


def _least_cost(
    problem: Problem, run: ChoiceRun, search: Fewest, points: Sequence[ThresholdPoint]
) -> LeastCost:
    return LeastCost(
        unit="price per hour" if problem.price_per_gpu_hour else "GPUs",
        cost=cost_of(problem, run.choice),
        bound=search.bound,
        thresholds=[list(point.thresholds) for point in points],
        simulated=search.simulated,
        left_out=search.left_out,
    )


def _finished(planning: Planning, run: ChoiceRun, plan: Plan, looked_at: int) -> Plan:
    """A placed plan with all that its run and the sample say of it."""
    problem = planning.problem
    plan = planning.runs.finished(run, plan, looked_at)
    remaining = problem.gpu_budget - run.choice.gpus
    return msgspec.structs.replace(
        plan,
        slo_met=meets_targets(run, problem) if problem.slo.has_targets else None,
        left_over=LeftOver(gpus=remaining, gain=0.0) if remaining > 0 else None,
        sample=sample_facts(build_sample(problem.calibration), run.choice.point.thresholds),
    )
