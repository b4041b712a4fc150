"""From a checked problem to its plan: thresholds, deployment, placement."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from cascadia_sglang.planner.deployment.allocation import allocate
from cascadia_sglang.planner.deployment.plan_placement import place
from cascadia_sglang.planner.latency.curves import Curves
from cascadia_sglang.planner.plan import Plan
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.thresholds.search import choose_and_allocate


def solve(
    problem: Problem,
    *,
    time_limit_s: float = 10.0,
    workers: int = 0,
    with_front: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Plan:
    """Solve a checked problem.

    Args:
        time_limit_s: seconds that the solver may take.
        workers: processes that simulate a problem with a workload; 0 simulates in this process.
        with_front: whether a plan whose thresholds were searched holds the front too.
        on_progress: called with a stage of simulations, how many are done, and how many there are;
            from any thread.

    Raises:
        InfeasiblePlanError: if no plan keeps the budget and the quality floor.
        PlanTimeoutError: if the time limit comes before any plan.
        ConfigError, WorkloadError: if a file that the problem names cannot be read.
    """
    begun = time.perf_counter()
    if problem.workload is not None:
        # It brings a compiler along, which the rest has no use for.
        from cascadia_sglang.planner.from_workload import plan_of_source

        plan = plan_of_source(
            problem,
            time_limit_s=time_limit_s,
            workers=workers,
            with_front=with_front,
            on_progress=on_progress,
        )
    elif problem.calibration:
        plan = choose_and_allocate(
            problem, Curves(problem), time_limit_s=time_limit_s, with_front=with_front
        )
    else:
        plan = allocate(problem, time_limit_s=time_limit_s)
    if plan.deployments and not plan.placement:
        plan = place(problem, plan)
    return msgspec.structs.replace(plan, solve_s=time.perf_counter() - begun)
