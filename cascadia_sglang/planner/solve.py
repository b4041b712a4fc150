"""From a checked problem to its plan: thresholds, deployment, placement."""

from __future__ import annotations

import time

import msgspec

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.planner.deployment.allocation import allocate
from cascadia_sglang.planner.deployment.plan_placement import with_placement
from cascadia_sglang.planner.latency.curves import Curves
from cascadia_sglang.planner.plan import Plan, Sweep
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.progress import JobRunner, PlanProgress, Report
from cascadia_sglang.planner.thresholds.search import choose_and_allocate


def solve(
    problem: Problem,
    *,
    time_limit_s: float = 10.0,
    workers: int = 0,
    with_front: bool = False,
    report: Report | None = None,
) -> Plan:
    """Solve a checked problem.

    Args:
        time_limit_s: seconds after which the best plan so far is returned. They begin once the
            simulator is compiled.
        workers: threads that simulate a problem with a workload; 0 simulates in the caller's.
        with_front: whether a plan whose thresholds were searched holds the front too.
        report: takes a line on the phase and the time left, at most once a second.

    Raises:
        InfeasiblePlanError: if no plan keeps the budget and the quality floor.
        PlanTimeoutError: if the time limit comes before any plan.
        ConfigError, WorkloadError: if a file that the problem names cannot be read.
    """
    if problem.workload is not None:
        # It brings a compiler along, which the rest has no use for.
        from cascadia_sglang.planner.from_workload import plan_of_source
        from cascadia_sglang.planner.simulation.compilation import compile_simulator

        compile_simulator(report)
    begun = time.perf_counter()
    progress = PlanProgress(time_limit_s, report)
    if problem.workload is not None:
        plan = plan_of_source(problem, JobRunner(workers, progress), with_front=with_front)
    elif problem.calibration:
        plan = choose_and_allocate(
            problem, Curves(problem), time_limit_s=time_limit_s, with_front=with_front
        )
    else:
        plan = allocate(problem, time_limit_s=time_limit_s)
    if plan.deployments and not plan.placement:
        plan = with_placement(problem, plan)
    return msgspec.structs.replace(plan, solve_s=time.perf_counter() - begun)


def sweep(
    problem: Problem,
    *,
    time_limit_s: float = 10.0,
    workers: int = 0,
    report: Report | None = None,
) -> Sweep:
    """What rising numbers of GPUs, or rising prices, give, of a checked problem with a workload.

    Raises:
        ConfigError: if it has no workload, or too many GPUs of too many types.
        InfeasiblePlanError: if no plan keeps the budget and the quality floor.
        PlanTimeoutError: if the time limit comes before any plan.
    """
    if problem.workload is None:
        raise ConfigError("--sweep needs a workload: tables say nothing of single requests")
    from cascadia_sglang.planner.from_workload import sweep_of_source
    from cascadia_sglang.planner.simulation.compilation import compile_simulator

    compile_simulator(report)
    return sweep_of_source(problem, JobRunner(workers, PlanProgress(time_limit_s, report)))
