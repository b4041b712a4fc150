"""A plan from a workload: shapes, surfaces, thresholds and deployment, refined by simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cascadia_sglang.planner.latency.build_surfaces import (
    Run,
    build_surfaces,
    in_process,
    surface_of,
)
from cascadia_sglang.planner.latency.shapes import shapes_of_pools
from cascadia_sglang.planner.latency.simulated import ShapeLatencies
from cascadia_sglang.planner.plan import Plan
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.refine import refined
from cascadia_sglang.planner.thresholds.search import choose_and_allocate
from cascadia_sglang.planner.worker_process import WorkerProcesses
from cascadia_sglang.planner.workload.source import WorkloadSource, load_workload
from cascadia_sglang.planner.workload.workload import Workload

# Called with a stage of simulations, how many are done, and how many there are.
OnProgress = Callable[[str, int, int], None]


class _RunJobs(Protocol):
    """A `Run` that can report its progress."""

    def __call__(
        self,
        function: Callable[[Any], Any],
        jobs: Sequence[Any],
        on_done: Callable[[int], None] = ...,
        /,
    ) -> list[Any]: ...


def plan_of_source(
    problem: Problem,
    *,
    time_limit_s: float,
    workers: int,
    with_front: bool = False,
    on_progress: OnProgress | None = None,
) -> Plan:
    """Solve a checked problem with a workload.

    Args:
        workers: processes that simulate; 0 simulates in this one.
        on_progress: called as simulations end, from any thread.

    Raises:
        As `solve` of `cascadia_sglang.planner.solve`.
    """
    workload = load_workload(problem.workload or WorkloadSource())

    def planned(run: Run) -> Plan:
        return plan_of_workload(
            problem, workload, run, time_limit_s=time_limit_s, with_front=with_front
        )

    if workers == 0:
        return planned(_reporting(in_process, on_progress))
    with WorkerProcesses(workers) as processes:
        return planned(_reporting(processes.run, on_progress))


def _reporting(run: _RunJobs, on_progress: OnProgress | None) -> Run:
    """A `Run` that reports its progress, by what it simulates."""
    if on_progress is None:
        return run

    def run_jobs(function: Callable[[Any], Any], jobs: Sequence[Any]) -> list[Any]:
        stage = "single replicas" if function is surface_of else "whole plans"
        return run(function, jobs, lambda done: on_progress(stage, done, len(jobs)))

    return run_jobs


def plan_of_workload(
    problem: Problem,
    workload: Workload,
    run: Run,
    *,
    time_limit_s: float = 10.0,
    with_front: bool = False,
) -> Plan:
    """The plan for requests that are at hand, placed; `solve_s` is left at 0.

    Args:
        problem: checked, with a calibration sample and a cluster.
        run: does the simulations.
    """
    latencies = latencies_of(problem, workload, run)
    plan = choose_and_allocate(problem, latencies, time_limit_s=time_limit_s, with_front=with_front)
    return refined(problem, plan, latencies, workload, run)


def latencies_of_source(problem: Problem, workers: int) -> ShapeLatencies:
    """Latencies of a checked problem with a workload.

    Args:
        workers: processes that simulate; 0 simulates in this one.
    """
    workload = load_workload(problem.workload or WorkloadSource())
    if workers == 0:
        return latencies_of(problem, workload, in_process)
    with WorkerProcesses(workers) as processes:
        return latencies_of(problem, workload, processes.run)


def latencies_of(problem: Problem, workload: Workload, run: Run) -> ShapeLatencies:
    """Simulate what the deployment level needs to know of every shape.

    Raises:
        ConfigError: if a model or a profile cannot be read, or a type of GPU is unknown.
        InfeasiblePlanError: if a tier has no shape.
    """
    shapes = shapes_of_pools(problem, workload)
    surfaces = build_surfaces(problem, workload, shapes, run)
    return ShapeLatencies(problem, surfaces, workload.rate_per_s)
