"""The fewest GPUs, or the least price, with which the latency targets are met.

Every plan of some thresholds is looked at, by its cost from below, until one meets the targets in
a simulation of the whole workload. Plans that cannot are left out: where even requests alone take
too long, where a pool's lanes cannot hold the work in time, and where a pool misses the targets
clearly beside others without limits. So what is found is the least of all shapes and numbers of
replicas, unless the time is over before.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.errors import InfeasiblePlanError
from cascadia_sglang.planner.latency.simulated import ShapeLatencies
from cascadia_sglang.planner.plan import Plan
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.thresholds.frontier import ThresholdPoint
from cascadia_sglang.planner.whole.choice import PlanChoice
from cascadia_sglang.planner.whole.ladder import Ladder
from cascadia_sglang.planner.whole.levels import SAME_COST
from cascadia_sglang.planner.whole.plan_space import PlanSpace
from cascadia_sglang.planner.whole.runs import BATCH, ChoiceRun, ChoiceRuns


@dataclass(frozen=True, slots=True, kw_only=True)
class Fewest:
    """What the search for the least cost ended with.

    Attributes:
        run, plan: that meets the targets at the least cost; None where no plan was found.
        bound: no plan of these thresholds below this cost meets the targets.
        simulated: plans that were simulated.
        left_out: plans that cannot meet the targets, by a bound.
        is_complete: whether the least cost is proved, or that no plan within the budget does it.
    """

    run: ChoiceRun | None
    plan: Plan | None
    bound: float
    simulated: int
    left_out: int
    is_complete: bool


def slo_points(
    latencies: ShapeLatencies, points: Sequence[ThresholdPoint], ladder: Ladder, level: int
) -> list[ThresholdPoint]:
    """The thresholds that are looked at: those that load GPUs least, and those that are fastest on
    the surfaces within a level of the ladder."""
    cheapest = min(points, key=lambda point: latencies.gpu_load(point.shares))
    fastest = ladder.best(level)
    fastest_last = [cheapest] if fastest is None else [cheapest, fastest.point]
    return list({point.shares: point for point in fastest_last}.values())


def incumbent(
    runs: ChoiceRuns,
    ladder: Ladder,
    rungs: Sequence[int],
    others: Sequence[PlanChoice],
    plan: Plan,
) -> tuple[ChoiceRun, Plan] | None:
    """A plan that meets the targets, to begin with; None where none is found soon.

    It is of a low rung, by bisection. Where that of the last rung misses the targets, the others
    are looked at, the best on the surfaces first.
    """
    best = None
    low, high = 0, len(rungs) - 1
    while low <= high and not (best and runs.runner.progress.is_over):
        middle = (low + high) // 2 if best else high
        run = _attaining(runs, ladder.best(rungs[middle]))
        placed = None if run is None else _placed(runs, run, plan)
        if run is not None and placed is not None:
            best, high = (run, placed), middle - 1
        elif best is None:
            return _first_attaining(runs, others, plan)
        else:
            low = middle + 1
    return best


def _first_attaining(
    runs: ChoiceRuns, choices: Sequence[PlanChoice], plan: Plan
) -> tuple[ChoiceRun, Plan] | None:
    ranked = sorted(choices, key=lambda choice: choice.surface_s)
    runs.runner.progress.begin("plans that may meet the targets", len(ranked))
    for start in range(0, len(ranked), BATCH):
        if runs.runner.progress.is_over:
            break
        best = _best_placed(runs, runs.attaining(ranked[start : start + BATCH]), plan)
        if best is not None:
            return best
    return None


def fewest(
    runs: ChoiceRuns,
    latencies: ShapeLatencies,
    points: Sequence[ThresholdPoint],
    plan: Plan,
    best_known: tuple[ChoiceRun, Plan] | None,
) -> Fewest:
    """Find the plan of least cost that meets the targets.

    Args:
        points: of thresholds that are looked at.
        best_known: a plan that meets them; no plan of its cost or above is looked at.
    """
    most = np.inf if best_known is None else cost_of(runs.problem, best_known[0].choice)
    spaces = [PlanSpace(runs, latencies, point, most) for point in points]
    levels = sorted({level for space in spaces for level in space.levels()})
    progress = runs.runner.progress
    progress.begin("least cost, plans to simulate", 0)
    simulated = 0
    for level in levels:
        if level >= most - SAME_COST:
            break
        choices = sorted(
            (choice for space in spaces for choice in space.choices(level)),
            key=lambda choice: (choice.surface_s, choice.key),
        )
        for start in range(0, len(choices), BATCH):
            attained = runs.attaining(choices[start : start + BATCH])
            simulated += len(choices[start : start + BATCH])
            if progress.is_over:
                break
            best = _best_placed(runs, attained, plan)
            if best is not None:
                return _ended(best, level, simulated, spaces, is_complete=True)
        if progress.is_over:
            return _ended(best_known, level, simulated, spaces, is_complete=False)
    return _ended(best_known, float(most), simulated, spaces, is_complete=True)


def cost_of(problem: Problem, choice: PlanChoice) -> float:
    """What `slo` minimises: the price of a plan's GPUs for an hour, or their number."""
    price = choice.price_per_hour(problem)
    return float(choice.gpus) if price is None else price


def meets_targets(run: ChoiceRun, problem: Problem) -> bool:
    """Whether as many requests meet every target as should."""
    return run.outcome.attainment(problem.slo) >= problem.slo.attainment


def _ended(
    best: tuple[ChoiceRun, Plan] | None,
    bound: float,
    simulated: int,
    spaces: Sequence[PlanSpace],
    *,
    is_complete: bool,
) -> Fewest:
    run, plan = (None, None) if best is None else best
    return Fewest(
        run=run,
        plan=plan,
        bound=bound,
        simulated=simulated,
        left_out=sum(space.left_out for space in spaces),
        is_complete=is_complete,
    )


def _attaining(runs: ChoiceRuns, choice: PlanChoice | None) -> ChoiceRun | None:
    if choice is None:
        return None
    run = runs.attaining_run(choice)
    return run if run is not None and meets_targets(run, runs.problem) else None


def _placed(runs: ChoiceRuns, run: ChoiceRun, plan: Plan) -> Plan | None:
    try:
        return runs.placed(run.choice, plan)
    except InfeasiblePlanError:
        return None


def _best_placed(
    runs: ChoiceRuns, candidates: Sequence[ChoiceRun], plan: Plan
) -> tuple[ChoiceRun, Plan] | None:
    """Of those that meet the targets and can be placed the one that meets them most often."""
    slo = runs.problem.slo
    good = [run for run in candidates if meets_targets(run, runs.problem)]
    for run in sorted(
        good, key=lambda candidate: (-candidate.outcome.attainment(slo), candidate.value_s)
    ):
        placed = _placed(runs, run, plan)
        if placed is not None:
            return run, placed
    return None


def rungs_of(ladder: Ladder) -> list[int]:
    """Every level at which the best plan on the surfaces gets better."""
    value_s_B = ladder.value_s_B
    return [
        level
        for level, (before, now) in enumerate(itertools.pairwise(value_s_B), start=1)
        if now < before
    ]
