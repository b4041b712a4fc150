"""What every number of GPUs, or their price, gives: mean, p95 and attainment of the best plan."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cascadia_sglang.errors import ConfigError, InfeasiblePlanError
from cascadia_sglang.planner.plan import Sweep, SweepPoint
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.whole.choice import ChoiceKey, PlanChoice
from cascadia_sglang.planner.whole.ladder import Ladder, rungs
from cascadia_sglang.planner.whole.runs import ChoiceRun, ChoiceRuns

# What a point of the sweep gains over the one before at least, as a share of the objective.
POINT_GAIN = 0.03
# Plans near the best one of a level that are simulated too.
NEIGHBOURS = 3


def sweep(problem: Problem, runs: ChoiceRuns, ladders: Sequence[Ladder]) -> Sweep:
    """Simulate the best plans of rising numbers of GPUs, or of rising prices where there are some.

    Args:
        ladders: of the problem's objective first.

    Raises:
        ConfigError: if there are too many GPUs of too many types.
        InfeasiblePlanError: if no number of GPUs within the budget gives a plan.
    """
    if not ladders:
        raise ConfigError("--sweep needs fewer GPUs, or fewer types of them")
    points: list[SweepPoint] = []
    last_s = math.inf
    simulated: set[ChoiceKey] = set()
    progress = runs.runner.progress
    levels = rungs(ladders, POINT_GAIN)
    progress.begin("sweep, plans to simulate", (len(ladders) + NEIGHBOURS) * len(levels))
    for level in levels:
        if progress.is_over:
            break
        best = [choice for ladder in ladders if (choice := ladder.best(level)) is not None]
        near = ladders[0].near(level, NEIGHBOURS)
        new = {choice.key: choice for choice in (*best, *near) if choice.key not in simulated}
        simulated |= new.keys()
        run = _best_run(runs, list(new.values()), last_s * (1.0 - POINT_GAIN))
        if run is not None:
            points.append(_point(run, problem))
            last_s = run.value_s
    if not points:
        raise InfeasiblePlanError("no number of GPUs within the budget carries the load")
    within = [point.slo_attainment >= problem.slo.attainment for point in points]
    return Sweep(
        objective=problem.objective,
        points=points,
        knee=knee_of([cost_of(point) for point in points], [point.p95_s for point in points]),
        first_within_slo=within.index(True) if problem.slo.has_targets and any(within) else None,
        is_complete=not progress.is_over,
    )


def cost_of(point: SweepPoint) -> float:
    """The price of a point's GPUs for an hour, or their number without prices."""
    return float(point.gpus) if point.price_per_hour is None else point.price_per_hour


def knee_of(costs: Sequence[float], p95_s: Sequence[float]) -> int | None:
    """The point farthest below the line from the first to the last; None for fewer than three."""
    if len(costs) < 3:
        return None
    x, y = np.array(costs), np.array(p95_s)
    x, y = (x - x[0]) / (x[-1] - x[0]), (y - y[-1]) / max(y[0] - y[-1], 1e-12)
    return int(np.argmax((1.0 - x) - y))


def _best_run(runs: ChoiceRuns, choices: Sequence[PlanChoice], most_s: float) -> ChoiceRun | None:
    """The best of these plans that can be placed, if its value is within a limit."""
    runs_within = runs.within(choices, most_s)
    for run in sorted(
        runs_within, key=lambda candidate: (candidate.value_s, candidate.choice.gpus)
    ):
        if run.value_s <= most_s and runs.can_place(run.choice):
            return run
    return None


def _point(run: ChoiceRun, problem: Problem) -> SweepPoint:
    outcome, choice = run.outcome, run.choice
    return SweepPoint(
        gpus=choice.gpus,
        price_per_hour=choice.price_per_hour(problem),
        mean_s=outcome.mean_s(),
        p95_s=run.p95_s,
        slo_attainment=outcome.attainment(problem.slo),
        thresholds=list(choice.point.thresholds),
        deployments=list(choice.deployments),
    )
