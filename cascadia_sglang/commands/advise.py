"""Say whether a cascade pays on these GPUs, beside every tier alone and a router.

All keep the same quality floor. The router sends a prompt to one tier before any has answered: by
the predictions in the sample (`entry`), or, where there are none, by chance. The problem holds a
calibration sample with latency curves or a workload, and its objective is `path`: mean latency end
to end is compared, and with it how few GPUs reach the best latency without a cascade.
Exit code 3: nothing keeps the budget and the floor.

Example:
    cascadia advise --problem problem.json --price-per-gpu-hour 2.5
"""

import argparse
import sys
from pathlib import Path

import msgspec

from cascadia_sglang.commands.plan import INFEASIBLE
from cascadia_sglang.planner.advice import CASCADE, ROUTER, Advice, advise
from cascadia_sglang.planner.problem import Problem
from cascadia_sglang.planner.problem_checks import load_problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--problem", type=Path, required=True, help="a problem file; see `cascadia schema problem`"
    )
    parser.add_argument("--json", action="store_true", help="print the advice as JSON")
    parser.add_argument("--price-per-gpu-hour", type=_price, default=None, help="to tell the cost")
    parser.add_argument(
        "--workers", type=int, default=2, help="processes that simulate (default: 2); 0 for none"
    )


def _price(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def run(args: argparse.Namespace) -> int:
    """Compare and print.

    Raises:
        ConfigError: names the file, the place and what is allowed.
    """
    problem = load_problem(args.problem)
    advice = advise(problem, workers=args.workers)
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
    head = f"{'':<16}{'quality':>9}{'latency s':>12}{'GPUs':>6}{'as fast with':>14}"
    told = [head + (f"{'price/h':>10}" if price is not None else "")]
    rows = [(one.tier, one.quality, one.latency_s, one.gpus) for one in advice.alone]
    if advice.router is not None:
        routed = advice.router
        rows.append((ROUTER, routed.quality, routed.latency_s, _taken(problem, routed.allocation)))
    if advice.cascade is not None:
        plan = advice.cascade
        rows.append((CASCADE, plan.quality, plan.objective_s, _taken(problem, plan.allocation)))
    for name, quality, latency_s, gpus in rows:
        served = "none serves" if latency_s is None else f"{latency_s:.4g}"
        least = advice.least_gpus.get(name)
        cost = "" if price is None else "-" if least is None else f"{price * least:.2f}"
        told.append(
            f"{name:<16}{quality:>9.4f}{served:>12}{gpus or '-':>6}{least or '-':>14}"
            + (f"{cost:>10}" if price is not None else "")
        )
    if advice.reference_s is not None:
        told.append(f"as fast: {advice.reference_s:.4g} s, the least without a cascade")
    if advice.router is not None and advice.router.knows == "nothing":
        told.append("the router knows nothing of a prompt: the sample holds no predictions (entry)")
    return [*told, _verdict(advice)]


def _taken(problem: Problem, allocation: list[int]) -> int:
    """GPUs of all pools together."""
    by_pool = {tier.pool_name: gpus for tier, gpus in zip(problem.tiers, allocation, strict=True)}
    return sum(by_pool.values())


def _verdict(advice: Advice) -> str:
    if advice.choice is None:
        return "nothing keeps the budget and the floor"
    if advice.choice != CASCADE:
        alone = "the router" if advice.choice == ROUTER else f"{advice.choice} alone"
        return f"do not cascade: {alone} is as fast"
    if advice.reference_s is None or advice.cascade is None:
        return "cascade: nothing else keeps the budget and the floor"
    return f"cascade: {1 - advice.cascade.objective_s / advice.reference_s:.1%} less latency"
