"""Simulate a cascade on a trace: latency per tier and path, attainment of targets, use of replicas.

Example:
    cascadia simulate --plan plan.json --trace trace.csv --rate 20 --json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from cascadia_sglang.planner.simulate_plan import simulate
from cascadia_sglang.planner.workload.workload import MOONCAKE_BLOCK_TOKENS
from cascadia_sglang.progress import elapsed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plan",
        type=Path,
        required=True,
        help="plan that was made from a workload, or a file by `cascadia schema setup`",
    )
    parser.add_argument(
        "--trace",
        type=Path,
        help="trace: own CSV, Azure's, BurstGPT's or Mooncake's; default: the plan's requests",
    )
    parser.add_argument("--rate", type=float, help="requests per second; default: the trace's")
    parser.add_argument("--requests", type=_count, help="requests to simulate; default: all")
    parser.add_argument(
        "--skip",
        type=_count,
        default=0,
        help="requests of --trace to leave out before those; default: 0",
    )
    parser.add_argument(
        "--block-tokens",
        type=_one_or_more,
        default=MOONCAKE_BLOCK_TOKENS,
        help="tokens of a prefix block of the trace; default: %(default)s",
    )
    parser.add_argument(
        "--seed", type=int, help="seed of the draw of requests that escalate; default: the plan's"
    )
    parser.add_argument("--json", action="store_true", help="print all results as JSON")


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def _one_or_more(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def run(args: argparse.Namespace) -> int:
    """Simulate and print.

    Raises:
        CascadiaError: one line on what cannot be read or simulated.
    """
    with elapsed("simulating"):
        simulation = simulate(
            args.plan,
            trace=args.trace,
            rate_per_s=args.rate,
            requests=args.requests,
            skip=args.skip,
            block_tokens=args.block_tokens,
            seed=args.seed,
        )
    summary = simulation.summary()
    print(json.dumps(summary, indent=1) if args.json else _page(summary))
    return 0


def _page(summary: dict[str, Any]) -> str:
    lines = [
        f"{summary['requests']} requests at {summary['rate_per_s']:.3g}/s on {summary['profile']}",
        f"answered {summary['answered']}, too long {summary['too_long']}, "
        f"out of memory {summary['out_of_memory']}",
        f"E2E {_row(summary['e2e_ms'])}",
        f"TTFT {_row(summary['ttft_ms'])}",
        f"SLO attainment {100 * summary['slo_attainment']:.1f} %, "
        f"goodput {summary['goodput_per_s']:.3g}/s",
    ]
    for tier in summary["tiers"]:
        lines.append(
            f"{tier['name']}: reached by {100 * tier['reached']:.1f} %, answers "
            f"{100 * tier['answered']:.1f} %, {_busy(tier['busy'])}, "
            f"attempt E2E {_row(tier['attempt_e2e_ms'])}"
        )
    return "\n".join(lines)


def _busy(share: float | None) -> str:
    return "on the replicas of another" if share is None else f"busy {100 * share:.0f} %"


def _row(quantiles_ms: dict[str, float | None]) -> str:
    return (
        ", ".join(
            f"{name} {'-' if value is None else format(value, '.1f')}"
            for name, value in quantiles_ms.items()
        )
        + " ms"
    )
