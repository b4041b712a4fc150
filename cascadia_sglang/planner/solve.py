"""From a checked problem to its plan: thresholds, deployment, placement."""

from __future__ import annotations

import time

import msgspec

from cascadia_sglang.planner.allocation import allocate
from cascadia_sglang.planner.placement import place
from cascadia_sglang.planner.plan import Plan
from cascadia_sglang.planner.problem import Problem
from cascadia_sglang.planner.routing import choose_and_allocate


def solve(problem: Problem, *, time_limit_s: float = 10.0) -> Plan:
    """Solve a checked problem.

    Raises:
        InfeasiblePlanError: if no plan keeps the budget and the quality floor.
        PlanTimeoutError: if the time limit comes before any plan.
    """
    begun = time.perf_counter()
    if problem.calibration:
        plan = choose_and_allocate(problem, time_limit_s=time_limit_s)
    else:
        plan = allocate(problem, time_limit_s=time_limit_s)
    if plan.deployments:
        plan = place(problem, plan)
    return msgspec.structs.replace(plan, solve_s=time.perf_counter() - begun)
