"""Simulate a cascade on a trace: latencies per tier and path, SLO attainment, use of replicas.

Example:
    cascadia simulate --plan plan.json --trace trace.csv --rate 20 --json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from cascadia_sglang.planner.paths import shared_paths
from cascadia_sglang.planner.setup import load_setup
from cascadia_sglang.planner.simulator import simulate
from cascadia_sglang.planner.traces import load_trace
from cascadia_sglang.planner.workload import MOONCAKE_BLOCK_TOKENS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, required=True, help="replicas, profile and shares")
    parser.add_argument("--trace", type=Path, required=True, help="own CSV, Azure's or Mooncake's")
    parser.add_argument("--rate", type=float, help="requests per second, instead of the trace's")
    parser.add_argument("--requests", type=int, help="of the trace, the first so many")
    parser.add_argument("--block-tokens", type=int, default=MOONCAKE_BLOCK_TOKENS)
    parser.add_argument("--seed", type=int, default=0, help="of who climbs")
    parser.add_argument("--json", action="store_true", help="all of it, as JSON")


def run(args: argparse.Namespace) -> int:
    """Simulate and print.

    Raises:
        CascadiaError: one line on what cannot be read or simulated.
    """
    setup, profile, tiers = load_setup(args.plan)
    workload = load_trace(args.trace, args.block_tokens)
    if args.requests is not None:
        workload = workload.part(0, args.requests)
    if args.rate is not None:
        workload = workload.at_rate(args.rate)
    paths = shared_paths(
        workload,
        [tier.share for tier in setup.tiers],
        [tier.length for tier in setup.tiers],
        setup.max_new_tokens,
        args.seed,
    )
    outcome = simulate(workload, paths, tiers, host=profile.host, is_buffered=setup.is_buffered)
    found = outcome.summary(setup.targets())
    found["profile"] = f"{profile.source}: {profile.device}"
    found["rate_per_s"] = workload.rate_per_s
    print(json.dumps(found, indent=1) if args.json else _page(found))
    return 0


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
            f"{100 * tier['answered']:.1f} %, busy {100 * tier['busy']:.0f} %, "
            f"attempt E2E {_row(tier['attempt_e2e_ms'])}"
        )
    return "\n".join(lines)


def _row(quantiles_ms: dict[str, float | None]) -> str:
    return (
        ", ".join(
            f"{name} {'-' if value is None else format(value, '.1f')}"
            for name, value in quantiles_ms.items()
        )
        + " ms"
    )
