"""Solve a problem: thresholds, GPUs for every tier, and how far that can be from the best.

Exit code 3: no plan keeps the budget and the quality floor. 4: the time limit came first.

Example:
    cascadia plan --problem problem.json --json
"""

import argparse
import sys
from pathlib import Path

import msgspec

from cascadia_sglang.errors import InfeasiblePlanError, PlanTimeoutError
from cascadia_sglang.planner.plan import NoPlan, Plan
from cascadia_sglang.planner.problem import Problem
from cascadia_sglang.planner.problem_checks import load_problem
from cascadia_sglang.planner.solve import solve

INFEASIBLE = 3
TIMED_OUT = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--problem", type=Path, required=True, help="a problem file; see `cascadia schema problem`"
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument(
        "--time-limit-s", type=_seconds, default=10.0, help="of the solver's run (default: 10)"
    )


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
    problem = load_problem(args.problem)
    try:
        plan = solve(problem, time_limit_s=args.time_limit_s)
    except InfeasiblePlanError as error:
        answer = NoPlan(
            status="infeasible", reason=str(error), tier=error.tier, lacks_gpus=error.lacks_gpus
        )
        return _no_plan(args, answer, INFEASIBLE)
    except PlanTimeoutError as error:
        return _no_plan(args, NoPlan(status="time_limit", reason=str(error)), TIMED_OUT)
    print(msgspec.json.encode(plan).decode() if args.json else "\n".join(lines(problem, plan)))
    return 0


def _no_plan(args: argparse.Namespace, answer: NoPlan, code: int) -> int:
    print(f"cascadia plan: {args.problem}: {answer.reason}", file=sys.stderr)
    if args.json:
        print(msgspec.json.encode(answer).decode())
    return code


def lines(problem: Problem, plan: Plan) -> list[str]:
    """The plan for a reader."""
    words = {"bottleneck": "slowest tier", "path": "mean along the path"}
    told = [
        f"{'tier':<16}{'GPUs':>6}{'reached by':>12}{'threshold':>11}",
    ]
    thresholds = [f"{threshold:.4f}" for threshold in plan.thresholds] + ["-"]
    for tier, gpus, share, threshold in zip(
        problem.tiers, plan.allocation, plan.shares, thresholds, strict=True
    ):
        told.append(f"{tier.name:<16}{gpus:>6}{share:>12.1%}{threshold:>11}")
    told.append(f"latency ({words[problem.objective]}) {plan.objective_s:.6g} s, {plan.status}")
    told.append(f"no plan is below {plan.bound_s:.6g} s: gap {plan.gap:.3%}")
    told.append(f"quality {plan.quality:.4f}; solved in {plan.solve_s * 1000:.1f} ms")
    if plan.search is not None:
        told.append(
            f"thresholds by {plan.search.method}; the best on the exact grid is "
            f"{plan.search.best_s:.6g} s, after {plan.search.boxes} boxes"
        )
    if plan.certificate is not None:
        sure = plan.certificate
        told.append(
            f"quality at least {sure.lower_bound:.4f} with confidence {sure.confidence:g}, "
            f"on {sure.rows} rows that chose nothing"
        )
    for deployment in plan.deployments:
        told.append(
            f"pool {deployment.pool}: {deployment.replicas} x (tp {deployment.tp_size}, "
            f"pp {deployment.pp_size}) on {deployment.gpu}"
        )
    for replica in plan.placement:
        told.append(
            f"  {replica.pool} on {replica.gpu} node {replica.node}, devices from "
            f"{replica.base_gpu_id} by {replica.gpu_id_step}, {replica.replica_gpus} in all"
        )
    for move in plan.moves:
        told.append(
            f"  {move.kind} {move.replica.pool} at node {move.replica.node}, device "
            f"{move.replica.base_gpu_id}: {move.cost_s:g} s"
        )
    return told
