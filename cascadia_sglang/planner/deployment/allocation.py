"""The deployment level: the best candidate and how many GPUs each tier gets, with its proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascadia_sglang.errors import PlanError, PlanTimeoutError
from cascadia_sglang.planner.deployment.columns import Columns, build_columns
from cascadia_sglang.planner.deployment.incumbent import best_picks, is_exact
from cascadia_sglang.planner.deployment.infeasibility import at_the_floor, shortage
from cascadia_sglang.planner.deployment.milp import solve_milp
from cascadia_sglang.planner.deployment.plan_check import check_plan
from cascadia_sglang.planner.deployment.reduced_costs import useful
from cascadia_sglang.planner.plan import Plan, Status, gap_of
from cascadia_sglang.planner.problem.problem import Problem

# The solver's own tolerance, as a share of the objective: closer values are one to it.
TOLERANCE = 1e-6
# It may take an integer that is off by 1e-6 for one, in every pool: beyond this it contradicts.
CONTRADICTION = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Best:
    """Columns of the best plan, one a pool, and the proof."""

    picks: list[int]
    objective_s: float
    bound_s: float
    status: Status


def allocate(problem: Problem, *, time_limit_s: float = 10.0) -> Plan:
    """Solve a checked problem with explicit candidates; `solve_s` is left at 0.

    Raises:
        InfeasiblePlanError: if no candidate reaches the floor, or none fits the budget.
        PlanTimeoutError: if the time limit comes before any plan.
    """
    indices = at_the_floor(problem)
    columns, choices = build_columns(problem, indices)
    best = _best(columns, _incumbent(columns, indices), time_limit_s)
    if best is None:
        raise shortage(problem, indices)
    index = int(columns.candidate_C[best.picks[0]])
    candidate = problem.candidates[index]
    picked = [choices[pick] for pick in best.picks]
    by_pool = dict(zip(problem.pools, picked, strict=True))
    plan = Plan(
        thresholds=candidate.thresholds,
        allocation=[by_pool[tier.pool_name].gpus for tier in problem.tiers],
        objective_s=best.objective_s,
        quality=candidate.quality,
        bound_s=best.bound_s,
        gap=gap_of(best.objective_s, best.bound_s),
        status=best.status,
        solve_s=0.0,
        candidate=index,
        shares=candidate.shares,
        switching_s=float(columns.switching_C[best.picks].sum()),
        deployments=[choice.deployment for choice in picked if choice.deployment is not None],
    )
    broken = check_plan(problem, plan)
    if broken:
        raise PlanError(f"the plan breaks its problem: {'; '.join(broken)}")
    return plan


def _incumbent(columns: Columns, indices: Sequence[int]) -> list[int] | None:
    """The best of the candidates' best deployments; the first among equals."""
    best: list[int] | None = None
    for index in indices:
        picks = best_picks(columns, index)
        if picks is not None and (
            best is None or columns.objective_s(picks) < columns.objective_s(best)
        ):
            best = picks
    return best


def _best(columns: Columns, incumbent: list[int] | None, time_limit_s: float) -> _Best | None:
    """Let the solver beat the incumbent, or prove that it cannot; None where nothing fits.

    Raises:
        PlanTimeoutError: if the time limit comes before any plan.
        PlanError: if the solver contradicts an incumbent that is proved.
    """
    exact = is_exact(columns)
    if incumbent is None:
        if exact:
            return None
        return _without_incumbent(columns, time_limit_s)
    incumbent_s = columns.objective_s(incumbent)
    kept_C = useful(columns, incumbent_s)
    kept_columns = np.flatnonzero(kept_C)
    solution = solve_milp(
        columns.only(kept_C),
        scale_s=incumbent_s or 1.0,
        start=np.searchsorted(kept_columns, incumbent).tolist(),
        time_limit_s=time_limit_s,
    )
    if solution.status == "infeasible":
        raise PlanError("the solver finds no plan where one is known")
    picks, objective_s = incumbent, incumbent_s
    margin_s = TOLERANCE * incumbent_s
    if solution.picks is not None:
        solved = kept_columns[solution.picks].tolist()
        solved_s = columns.objective_s(solved)
        differ = abs(solved_s - incumbent_s) > CONTRADICTION * incumbent_s
        if exact and differ and solution.status == "optimal":
            raise PlanError(f"the solver says {solved_s} s, exact is {incumbent_s} s")
        if solved_s < incumbent_s:
            picks, objective_s = solved, solved_s
    bound_s = objective_s if exact else min(solution.bound_s, objective_s)
    if objective_s - bound_s <= margin_s:
        bound_s = objective_s
    proved = exact or solution.status == "optimal"
    return _Best(
        picks=picks,
        objective_s=objective_s,
        bound_s=max(0.0, bound_s),
        status="optimal" if proved else "time_limit",
    )


def _without_incumbent(columns: Columns, time_limit_s: float) -> _Best | None:
    typical_s = float(np.median(columns.value_C)) if len(columns.value_C) else 0.0
    solution = solve_milp(columns, scale_s=typical_s or 1.0, start=None, time_limit_s=time_limit_s)
    if solution.status == "infeasible":
        return None
    if solution.picks is None:
        raise PlanTimeoutError(f"no plan within {time_limit_s} s")
    objective_s = columns.objective_s(solution.picks)
    bound_s = min(solution.bound_s, objective_s)
    if objective_s - bound_s <= TOLERANCE * objective_s:
        bound_s = objective_s
    return _Best(
        picks=solution.picks,
        objective_s=objective_s,
        bound_s=max(0.0, bound_s),
        status=solution.status,
    )
