"""Solve a problem: thresholds, GPUs per tier, and a bound on what a better plan could reach.

A problem holds tables of latencies, or a workload, GPUs and models from which they are simulated.
Its `objective` says what is asked: the least latency, or the fewest GPUs that meet `slo`.
`--sweep` shows what every number of GPUs up to the budget gives.

Exit code 3: no plan keeps the budget and the quality floor. Exit code 4: the plan misses the
targets of `slo`. Or the sample does not show the floor with `routing.confidence`. Or the time limit
came before any plan.

Example:
    cascadia plan --problem problem.json --json
    cascadia plan --problem problem.json --sweep --gpu-budget 40
"""

import argparse
import sys
from pathlib import Path

import msgspec

from cascadia_sglang.capacity.types import MOST
from cascadia_sglang.commands import NOT_REACHED, plan_exit_code
from cascadia_sglang.commands.plan_page import missed_slo, plan_lines, sweep_lines
from cascadia_sglang.errors import (
    ConfigError,
    FloorNotShownError,
    InfeasiblePlanError,
    PlanError,
    PlanTimeoutError,
)
from cascadia_sglang.files.outputs import check_output_file
from cascadia_sglang.planner.picture import check_picture, draw_front, draw_sweep
from cascadia_sglang.planner.plan import NoPlan
from cascadia_sglang.planner.problem.checks import load_problem
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.solve import solve, sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--problem", type=Path, required=True, help="problem file; see `cascadia schema problem`"
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument(
        "--time-limit-s",
        type=_seconds,
        default=10.0,
        help="seconds after which the best plan so far is printed, from when the simulator is "
        "compiled; default: 10",
    )
    parser.add_argument(
        "--workers", type=_count, default=2, help="threads that simulate, 0 for one; default: 2"
    )
    parser.add_argument(
        "--gpu-budget", type=_gpus, help="GPUs in place of the problem's gpu_budget"
    )
    parser.add_argument(
        "--sweep",
        action="store_true",
        help="print mean, p95 and attainment by number of GPUs in place of a plan",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        help="picture (.svg, .png, .pdf) of latency against quality, where thresholds are "
        "searched; with --sweep, of p95 and attainment against GPUs",
    )


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 64:
        raise ValueError(text)
    return value


def _gpus(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MOST:
        raise ValueError(text)
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def run(args: argparse.Namespace) -> int:
    """Solve the problem and print the plan.

    Raises:
        ConfigError: names the file, the place and what is allowed.
    """
    if args.plot is not None:
        check_output_file(args.plot, "--plot")
        check_picture(args.plot)
    problem = load_problem(args.problem, gpu_budget=args.gpu_budget)
    if args.plot is not None and problem.candidates:
        raise ConfigError(f"problem {args.problem}: candidates have no front to plot")
    try:
        return _swept(args, problem) if args.sweep else _planned(args, problem)
    except FloorNotShownError as error:
        return _no_plan(args, error, NoPlan(status="not_shown", reason=str(error)))
    except InfeasiblePlanError as error:
        answer = NoPlan(
            status="infeasible", reason=str(error), tier=error.tier, lacks_gpus=error.lacks_gpus
        )
        return _no_plan(args, error, answer)
    except PlanTimeoutError as error:
        return _no_plan(args, error, NoPlan(status="time_limit", reason=str(error)))


def _planned(args: argparse.Namespace, problem: Problem) -> int:
    plan = solve(
        problem,
        time_limit_s=args.time_limit_s,
        workers=args.workers,
        with_front=args.plot is not None,
        report=_report,
    )
    # The plan first: it is there, whatever becomes of the picture.
    print(msgspec.json.encode(plan).decode() if args.json else "\n".join(plan_lines(problem, plan)))
    missed = missed_slo(problem, plan)
    if missed is not None:
        print(f"cascadia plan: {args.problem}: {missed}", file=sys.stderr)
    if args.plot is not None:
        draw_front(problem, plan, args.plot)
    return 0 if missed is None else NOT_REACHED


def _swept(args: argparse.Namespace, problem: Problem) -> int:
    points = sweep(problem, time_limit_s=args.time_limit_s, workers=args.workers, report=_report)
    lines = sweep_lines(problem, points)
    print(msgspec.json.encode(points).decode() if args.json else "\n".join(lines))
    if args.plot is not None:
        draw_sweep(problem, points, args.plot)
    return 0


def _report(line: str) -> None:
    print(f"cascadia plan: {line}", file=sys.stderr, flush=True)


def _no_plan(args: argparse.Namespace, error: PlanError, answer: NoPlan) -> int:
    print(f"cascadia plan: {args.problem}: {answer.reason}", file=sys.stderr)
    if args.json:
        print(msgspec.json.encode(answer).decode())
    return plan_exit_code(type(error))
