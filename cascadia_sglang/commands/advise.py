"""Say whether a cascade pays on these GPUs, beside every tier alone at the same quality floor.

The problem holds a calibration sample and latency curves (`calibration`, `latency_by_share_s`), and
its objective is `path`: mean latency end to end is compared.
Exit code 3: nothing keeps the budget and the floor.

Example:
    cascadia advise --problem problem.json --price-per-gpu-hour 2.5
"""

import argparse
import sys
from pathlib import Path

import msgspec

from cascadia_sglang.commands.plan import INFEASIBLE
from cascadia_sglang.planner.advice import Advice, advise
from cascadia_sglang.planner.problem import Problem
from cascadia_sglang.planner.problem_checks import load_problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--problem", type=Path, required=True, help="a problem file; see `cascadia schema problem`"
    )
    parser.add_argument("--json", action="store_true", help="print the advice as JSON")
    parser.add_argument("--price-per-gpu-hour", type=float, default=None, help="to tell the cost")


def run(args: argparse.Namespace) -> int:
    """Compare and print.

    Raises:
        ConfigError: names the file, the place and what is allowed.
    """
    problem = load_problem(args.problem)
    advice = advise(problem)
    if args.json:
        print(msgspec.json.encode(advice).decode())
    else:
        print("\n".join(lines(problem, advice, args.price_per_gpu_hour)))
    if advice.choice is None:
        print(f"cascadia advise: {args.problem}: nothing keeps budget and floor", file=sys.stderr)
        return INFEASIBLE
    return 0


def lines(problem: Problem, advice: Advice, price: float | None) -> list[str]:
    """The comparison for a reader."""
    told = [f"{'':<16}{'quality':>9}{'latency s':>12}{'GPUs':>6}" + ("  price/h" if price else "")]
    rows = [(one.tier, one.quality, one.latency_s, one.gpus) for one in advice.alone]
    plan = advice.cascade
    if plan is not None:
        by_pool = {
            tier.pool_name: gpus for tier, gpus in zip(problem.tiers, plan.allocation, strict=True)
        }
        rows.append(("cascade", plan.quality, plan.objective_s, sum(by_pool.values())))
    for name, quality, latency_s, gpus in rows:
        served = "none serves" if latency_s is None else f"{latency_s:.4g}"
        cost = f"{price * gpus:>9.2f}" if price and gpus else ""
        told.append(f"{name:<16}{quality:>9.4f}{served:>12}{gpus or '-':>6}{cost}")
    verdicts = {None: "nothing keeps the budget and the floor", "cascade": "cascade"}
    told.append(verdicts.get(advice.choice, f"do not cascade: {advice.choice} alone is as fast"))
    return told
