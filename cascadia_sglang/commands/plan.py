"""Solve a problem: thresholds, GPUs per tier, and a bound on what a better plan could reach.

A problem holds tables of latencies, or a workload, GPUs and models from which they are simulated.

Exit code 3: no plan keeps the budget and the quality floor. Exit code 4: the sample does not show
the floor with `routing.confidence`, or the time limit came first.

Example:
    cascadia plan --problem problem.json --json
"""

import argparse
import sys
from pathlib import Path

import msgspec

from cascadia_sglang.commands import plan_exit_code
from cascadia_sglang.errors import (
    ConfigError,
    FloorNotShownError,
    InfeasiblePlanError,
    PlanError,
    PlanTimeoutError,
)
from cascadia_sglang.files.outputs import check_output_file
from cascadia_sglang.planner.picture import check_picture, draw_front
from cascadia_sglang.planner.plan import NoPlan, Plan
from cascadia_sglang.planner.problem.checks import load_problem
from cascadia_sglang.planner.problem.problem import Problem
from cascadia_sglang.planner.solve import solve
from cascadia_sglang.progress import StageProgress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--problem", type=Path, required=True, help="problem file; see `cascadia schema problem`"
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument(
        "--time-limit-s",
        type=_seconds,
        default=10.0,
        help="seconds that the solver may take; default: 10",
    )
    parser.add_argument(
        "--workers", type=_count, default=2, help="processes that simulate, 0 for none; default: 2"
    )
    parser.add_argument(
        "--plot",
        type=Path,
        help="picture (.svg, .png, .pdf) of latency against quality, where thresholds are searched",
    )


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 64:
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
    problem = load_problem(args.problem)
    if args.plot is not None and problem.candidates:
        raise ConfigError(f"problem {args.problem}: candidates have no front to plot")
    try:
        with StageProgress("simulations") as progress:
            plan = solve(
                problem,
                time_limit_s=args.time_limit_s,
                workers=args.workers,
                with_front=args.plot is not None,
                on_progress=progress,
            )
    except FloorNotShownError as error:
        return _no_plan(args, error, NoPlan(status="not_shown", reason=str(error)))
    except InfeasiblePlanError as error:
        answer = NoPlan(
            status="infeasible", reason=str(error), tier=error.tier, lacks_gpus=error.lacks_gpus
        )
        return _no_plan(args, error, answer)
    except PlanTimeoutError as error:
        return _no_plan(args, error, NoPlan(status="time_limit", reason=str(error)))
    # The plan first: it is there, whatever becomes of the picture.
    print(msgspec.json.encode(plan).decode() if args.json else "\n".join(lines(problem, plan)))
    if args.plot is not None:
        draw_front(problem, plan, args.plot)
    return 0


def _no_plan(args: argparse.Namespace, error: PlanError, answer: NoPlan) -> int:
    print(f"cascadia plan: {args.problem}: {answer.reason}", file=sys.stderr)
    if args.json:
        print(msgspec.json.encode(answer).decode())
    return plan_exit_code(type(error))


def lines(problem: Problem, plan: Plan) -> list[str]:
    """The plan for a reader."""
    words = {"bottleneck": "slowest tier", "path": "mean along the path"}
    page = [
        f"{'tier':<16}{'GPUs':>6}{'reached by':>12}{'threshold':>11}",
    ]
    thresholds = [f"{threshold:.4f}" for threshold in plan.thresholds] + ["-"]
    for tier, gpus, share, threshold in zip(
        problem.tiers, plan.allocation, plan.shares, thresholds, strict=True
    ):
        page.append(f"{tier.name:<16}{gpus:>6}{share:>12.1%}{threshold:>11}")
    tables = "" if plan.simulated is None else " of single replicas"
    page.append(
        f"latency{tables} ({words[problem.objective]}) {plan.objective_s:.6g} s, {plan.status}"
    )
    page.append(f"no plan is below {plan.bound_s:.6g} s: gap {plan.gap:.3%}")
    page.append(f"quality {plan.quality:.4f}; solved in {plan.solve_s * 1000:.1f} ms")
    if plan.search is not None:
        page.append(
            f"thresholds by {plan.search.method}; the best on the exact grid is "
            f"{plan.search.best_s:.6g} s, after {plan.search.boxes} boxes"
        )
    if plan.certificate is not None:
        sure = plan.certificate
        page.append(
            f"quality at least {sure.lower_bound:.4f} with confidence {sure.confidence:g}, "
            f"on {sure.rows} rows that chose nothing"
        )
    for deployment in plan.deployments:
        page.append(
            f"pool {deployment.pool}: {deployment.replicas} x (tp {deployment.tp_size}, "
            f"pp {deployment.pp_size}) on {deployment.gpu}"
        )
    for replica in plan.placement:
        page.append(
            f"  {replica.pool} on {replica.gpu} node {replica.node}, devices from "
            f"{replica.base_gpu_id} by {replica.gpu_id_step}, {replica.replica_gpus} in all"
        )
    page += _simulated(plan)
    for move in plan.moves:
        page.append(
            f"  {move.kind} {move.replica.pool} at node {move.replica.node}, device "
            f"{move.replica.base_gpu_id}: {move.cost_s:g} s"
        )
    return page


def _simulated(plan: Plan) -> list[str]:
    run = plan.simulated
    if run is None or plan.setup is None or isinstance(plan.setup.profile, str):
        return []
    e2e, ttft = (
        ", ".join(f"{name} {ms / 1e3:.4g}" for name, ms in quantiles_ms.items() if ms is not None)
        for quantiles_ms in (run.e2e_ms, run.ttft_ms)
    )
    return [
        f"simulated whole, {run.answered} of {run.requests} requests answered at "
        f"{run.rate_per_s:.4g}/s, step times {plan.setup.profile.source}; "
        f"best of {run.neighbours + 1} deployments",
        f"  E2E s: {e2e}",
        f"  TTFT s: {ttft}",
        f"  SLO attainment {run.slo_attainment:.1%}, goodput {run.goodput_per_s:.4g}/s",
    ]
