"""From a checked problem to its plan: thresholds, deployment, placement."""

from __future__ import annotations

from cascadia_sglang.planner.allocation import allocate
from cascadia_sglang.planner.plan import Plan
from cascadia_sglang.planner.problem import Problem


def solve(problem: Problem, *, time_limit_s: float = 10.0) -> Plan:
    """Solve a checked problem.

    Raises:
        InfeasiblePlanError: if no plan keeps the budget and the quality floor.
        PlanTimeoutError: if the time limit comes before any plan.
    """
    return allocate(problem, time_limit_s=time_limit_s)
