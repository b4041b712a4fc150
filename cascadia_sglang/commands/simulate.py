"""Simulate a cascade on a trace: latencies per tier and path, SLO attainment, use of replicas.

Example:
    cascadia simulate --plan plan.json --trace trace.csv --rate 20 --json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.planner.simulation.run_scenario import run_scenario
from cascadia_sglang.planner.simulation.scenario import Scenario, load_scenario
from cascadia_sglang.planner.workload.source import load_workload
from cascadia_sglang.planner.workload.traces import load_trace
from cascadia_sglang.planner.workload.workload import MOONCAKE_BLOCK_TOKENS, Workload


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plan",
        type=Path,
        required=True,
        help="a plan that was made from a workload; or replicas, profile and shares, see "
        "`cascadia schema setup`",
    )
    parser.add_argument(
        "--trace",
        type=Path,
        help="own CSV, Azure's, BurstGPT's or Mooncake's; by default what the plan was made for",
    )
    parser.add_argument("--rate", type=float, help="requests per second, instead of the trace's")
    parser.add_argument("--requests", type=_count, help="of the trace, the first so many")
    parser.add_argument(
        "--skip", type=_count, default=0, help="requests of --trace before those; default: 0"
    )
    parser.add_argument("--block-tokens", type=_one_or_more, default=MOONCAKE_BLOCK_TOKENS)
    parser.add_argument("--seed", type=int, help="of who climbs, instead of the plan's")
    parser.add_argument("--json", action="store_true", help="all of it, as JSON")


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
    setup, profile = load_scenario(args.plan)
    workload = _workload(args, setup)
    if args.rate is not None:
        workload = workload.at_rate(args.rate)
    if args.seed is not None:
        setup = msgspec.structs.replace(setup, seed=args.seed)
    outcome = run_scenario(setup, profile, workload)
    found = outcome.summary(setup.slo)
    found["profile"] = f"{profile.source}: {profile.device}"
    found["rate_per_s"] = workload.rate_per_s
    print(json.dumps(found, indent=1) if args.json else _page(found))
    return 0


def _workload(args: argparse.Namespace, setup: Scenario) -> Workload:
    if args.trace is not None:
        return load_trace(args.trace, args.block_tokens, requests=args.requests, skip=args.skip)
    if setup.workload is None:
        raise ConfigError(f"plan {args.plan}: it names no workload: --trace is needed")
    if args.skip:
        raise ConfigError("--skip needs --trace; a plan's own workload says its own")
    workload = load_workload(setup.workload)
    return workload if args.requests is None else workload.part(0, args.requests)


def _page(found: dict[str, Any]) -> str:
    lines = [
        f"{found['requests']} requests at {found['rate_per_s']:.3g}/s on {found['profile']}",
        f"answered {found['answered']}, too long {found['too_long']}, "
        f"out of memory {found['out_of_memory']}",
        f"E2E {_row(found['e2e_ms'])}",
        f"TTFT {_row(found['ttft_ms'])}",
        f"SLO attainment {100 * found['slo_attainment']:.1f} %, "
        f"goodput {found['goodput_per_s']:.3g}/s",
    ]
    for tier in found["tiers"]:
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
