"""What every objective gives on a trace: plans of both budgets, simulated whole.

Example:
    python -m bench.planner.objectives --trace FILE --per-gpu 0.375
    python -m bench.planner.objectives --trace FILE --per-gpu 0.375 --gpus 32 --all-below
    python -m bench.planner.objectives --smoke     # a short drawn trace

Three tiers (Qwen3 1.7B, 8B and 32B) on H100s by roofline, a sample of 1,000 rows, quality floor
0.85. `--all-below` simulates every plan with one GPU fewer than `slo` found, of all shapes and
splits and of the thresholds that it looked at, and says how many of them meet the targets.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.planner.fleet import QWEN3, drawn_workload, graded_sample, save_trace
from cascadia_sglang.planner.from_workload import Planning, plan_of_workload, prepared, surfaces_of
from cascadia_sglang.planner.plan import Plan
from cascadia_sglang.planner.problem.checks import completed
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.progress import JobRunner, PlanProgress
from cascadia_sglang.planner.whole.choice import PlanChoice
from cascadia_sglang.planner.whole.fewest import meets_targets
from cascadia_sglang.planner.workload.source import load_workload

OBJECTIVES = ("path", "bottleneck", "slo")
BUDGETS = (32, 80)
FLOOR = 0.85
SKILLS = (0.62, 0.8, 0.9)
ROWS = 1_000


def problem_data(
    trace: Path, gpus: int, rate_per_s: float, objective: str, slo_ms: float = 10_000.0
) -> dict[str, Any]:
    """What the problem file of a case holds."""
    return {
        "gpu_budget": gpus,
        "quality_floor": FLOOR,
        "objective": objective,
        "gpu": {"name": "H100"},
        "tiers": list(QWEN3),
        "workload": {"trace": str(trace.resolve()), "rate_per_s": rate_per_s},
        "slo": {"e2e_ms": slo_ms},
        "calibration": msgspec.to_builtins(graded_sample(SKILLS, ROWS, 5)),
    }


def problem_of(data: dict[str, Any]) -> Problem:
    """The checked problem of such a file."""
    return completed(msgspec.convert(data, Problem), Path("/"), "of the bench")


def line(trace: str, gpus: int, objective: str, plan: Plan) -> str:
    """A row of the docs' table."""
    run = plan.simulated
    if run is None or plan.relaxed is None:
        raise SystemExit("a plan without a simulation")
    mean_s, p95_s = ((run.e2e_ms[name] or 0.0) / 1e3 for name in ("mean", "p95"))
    shapes = ", ".join(
        f"{deployment.replicas} x tp {deployment.tp_size}" for deployment in plan.deployments
    )
    used = sum(deployment.gpus for deployment in plan.deployments)
    return (
        f"| {trace} | {gpus} | `{objective}` "
        f"| {used}{' (time limit)' if plan.status == 'time_limit' else ''} "
        f"| {shapes} | {mean_s:.3g} | {p95_s:.3g} "
        f"| {100 * run.slo_attainment:.1f} %{' (missed)' if not plan.slo_met else ''} "
        f"| {plan.relaxed.mean_e2e_ms / 1e3:.3g} |"
    )


def all_below(planning: Planning, plan: Plan, runner: JobRunner) -> tuple[int, int]:
    """How many plans with a GPU fewer there are, and how many of them meet the targets."""
    looked_at = [] if plan.least_cost is None else plan.least_cost.thresholds
    points = [point for point in planning.points if list(point.thresholds) in looked_at]
    gpus = sum(deployment.gpus for deployment in plan.deployments) - 1
    choices = [
        PlanChoice(point=point, deployments=deployments, surface_s=0.0)
        for point in points
        for deployments in _splits(planning, point.shares, gpus)
    ]
    runner.progress.begin("plans below", len(choices))
    runs = planning.runs.attaining(choices)
    return len(choices), sum(meets_targets(run, planning.problem) for run in runs)


def _splits(planning: Planning, shares: tuple[float, ...], gpus: int) -> Iterator[tuple]:
    ways = [[deployment for deployment, _, _ in ways] for ways in planning.latencies.ways(shares)]
    for deployments in itertools.product(*ways):
        if sum(deployment.gpus for deployment in deployments) == gpus:
            yield deployments


def main() -> None:
    """Plan, and print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", type=Path, help="instead of one drawn from a seed")
    parser.add_argument("--per-gpu", type=float, default=0.375, help="requests a second")
    parser.add_argument("--gpus", type=int, nargs="+", default=list(BUDGETS))
    parser.add_argument("--objective", choices=OBJECTIVES, nargs="+", default=list(OBJECTIVES))
    parser.add_argument("--slo-ms", type=float, default=10_000.0)
    parser.add_argument("--time-limit-s", type=float, default=10.0, help="of a plan")
    parser.add_argument("--all-below", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        trace = args.trace or Path(name) / "trace.csv"
        if args.trace is None:
            save_trace(drawn_workload(10.0, 300 if args.smoke else 10_000, 3), trace)
        for gpus in [8] if args.smoke else args.gpus:
            for objective in args.objective:
                data = problem_data(trace, gpus, gpus * args.per_gpu, objective, args.slo_ms)
                problem = problem_of(data)
                runner = JobRunner(args.threads, PlanProgress(args.time_limit_s))
                load = load_workload(problem.workload)
                plan = plan_of_workload(problem, load, runner)
                print(line(trace.stem, gpus, objective, plan), flush=True)
                if objective == "slo" and args.all_below and plan.slo_met:
                    runner = JobRunner(args.threads)
                    surfaces = surfaces_of(problem, load, runner)
                    planning = prepared(problem, load, surfaces, runner)
                    used = sum(deployment.gpus for deployment in plan.deployments)
                    number, meet = all_below(planning, plan, runner)
                    print(f"  {meet} of {number} plans with {used - 1} GPUs meet the targets")


if __name__ == "__main__":
    main()
