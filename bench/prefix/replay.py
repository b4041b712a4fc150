"""Mooncake's conversations in small: which worker takes a prompt, and at which tier it begins.

A block of 512 tokens of the trace becomes four, with the sharing of the trace and random ids;
answers are a thirty-second as long and end nowhere sooner; the KV pools are smaller alike. All is
on emulated devices, and all arms are asked the same at the same times. On one tier of four workers
the rules of choice are compared: random, least loaded, and by prefix, told by events or guessed. On
two tiers of two workers it is compared where a prompt begins: at the small one, or by price.
Whether the small tier's answer is accepted is drawn by seed: a score from its calibration's
quantiles, against a threshold that a third of them do not reach.

Example:
    python -m bench.prefix.replay --trace conversation_trace.jsonl
    python -m bench.prefix.replay --trace conversation_trace.jsonl --smoke    # writes nothing
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import RESULTS
from bench.harness.admin import ask
from bench.harness.client import Round, post, send_at
from bench.harness.estimates import Estimate
from bench.harness.rows import Facts, Row, facts_of_this_run, make_row, save_rows, source_line
from bench.prefix.serving import serving, tier
from cascadia_sglang.planner.workload.traces import load_trace
from cascadia_sglang.planner.workload.workload import Workload

BENCH = "prefix.replay"
PROFILE = "bench/prefix/replayed.json"
BLOCK_TOKENS = 4
OUTPUT_DIVISOR = 32
# Of a worker: 128 times as many in the trace's own tokens.
KV_TOKENS = 4096
# Ids of the demo's letters and digits.
FIRST_ID, IDS = 4, 96
CALIBRATION = Path("demo/models/small/calibration.json")
ESCALATED = 1 / 3
SEED = 40_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A way to serve the trace."""

    name: str
    tiers: tuple[str, ...]
    prefix: Mapping[str, Any]
    entry: str = "first"


ONE, TWO = ("small",), ("small", "large")
ARMS = (
    Arm(name="one tier, random", tiers=ONE, prefix={"workers": "random"}),
    Arm(name="one tier, least loaded", tiers=ONE, prefix={"workers": "least_loaded"}),
    Arm(name="one tier, by prefix, events", tiers=ONE, prefix={"events": "on"}),
    Arm(name="one tier, by prefix, guessed", tiers=ONE, prefix={"events": "off"}),
    Arm(name="two tiers, from the first", tiers=TWO, prefix={"events": "on"}),
    Arm(name="two tiers, by price", tiers=TWO, prefix={"events": "on"}, entry="priced"),
)


def configured(arm: Arm) -> dict[str, Any]:
    """Four workers in all, each on a device of its own."""
    replicas = 4 // len(arm.tiers)
    limits = {"max_total_tokens": KV_TOKENS, "max_running_requests": 16}
    tiers = [tier(name, replicas, BLOCK_TOKENS, **limits) for name in arm.tiers]
    return {
        "tiers": tiers,
        "routing": {
            "thresholds": [0.5] * (len(tiers) - 1),
            "early_abort": None,
            "entry": arm.entry,
        },
        "prefix": {"warm": "off", **arm.prefix},
        "planner": {"emulate": PROFILE, "gpu_budget": 4},
    }


def requests_of(workload: Workload, tiers: int) -> list[bytes]:
    """A request each: random tokens a block, the same for the same block."""
    rng = np.random.default_rng(SEED)
    blocks = int(workload.blocks_P.max()) + 1
    ids = rng.integers(FIRST_ID, FIRST_ID + IDS, (blocks, BLOCK_TOKENS))
    quantiles = json.loads(CALIBRATION.read_text())["score_quantiles"]
    threshold = np.quantile(quantiles, ESCALATED)
    accepted = rng.choice(quantiles, len(workload)) >= threshold
    requests = []
    for number in range(len(workload)):
        start, end = workload.block_starts_R[number : number + 2]
        tokens = max(1, round(int(workload.output_tokens_R[number]) / OUTPUT_DIVISOR))
        body = {
            "input_ids": ids[workload.blocks_P[start:end]].ravel().tolist(),
            "sampling_params": {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True},
        }
        # Random tokens have no right answer; the draw stands for the judge.
        headers = {"x-cascadia-threshold": "0" if accepted[number] else "1"} if tiers > 1 else {}
        requests.append(post("/generate", body, headers))
    return requests


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """What an arm made of the trace."""

    hit_rate: float
    p50_s: float
    p95_s: float
    mean_s: float
    stale_per_1000: float | None
    failed: int


def arm_result(sent: Round, port: int, workload: Workload) -> ArmResult:
    """Token hit rate over all attempts, and latencies of requests."""
    cached = prompts = failed = 0
    starts = workload.block_starts_R
    for number, reply in enumerate(sent.replies):
        if reply.status != 200:
            failed += 1
            continue
        for attempt in reply.json()["meta_info"]["cascadia"]["attempts"]:
            if attempt["reason"] == "too_long":
                continue
            cached += attempt["cached_tokens"]
            prompts += BLOCK_TOKENS * int(starts[number + 1] - starts[number])
    seconds = np.array([reply.seconds for reply in sent.replies if reply.status == 200])
    status = ask(port, "GET", "/cascadia/status")["prefixes"]
    stale = [status[kind]["stale_per_1000"] for kind in ("told", "guessed")]
    return ArmResult(
        hit_rate=cached / prompts,
        p50_s=float(np.median(seconds)),
        p95_s=float(np.quantile(seconds, 0.95)),
        mean_s=float(seconds.mean()),
        stale_per_1000=next((share for share in stale if share is not None), None),
        failed=failed,
    )


def ideal_hit_rate(workload: Workload) -> float:
    """With one cache that never forgets."""
    blocks: set[int] = set()
    hits = 0
    for number in range(len(workload)):
        start, end = workload.block_starts_R[number : number + 2]
        is_known = True
        for block in workload.blocks_P[start:end].tolist():
            is_known = is_known and block in blocks
            hits += is_known
            blocks.add(block)
    return hits / len(workload.blocks_P)


def study(workload: Workload, folder: Path, port: int) -> dict[str, ArmResult]:
    """All arms at once, in two groups: of one tier, and of two."""
    results: dict[str, ArmResult] = {}
    for tiers in (ONE, TWO):
        arms = [arm for arm in ARMS if arm.tiers == tiers]
        requests = requests_of(workload, len(tiers))
        with ExitStack() as stack:
            ports = {
                arm.name: stack.enter_context(serving(folder, port + number, configured(arm)))
                for number, arm in enumerate(arms)
            }
            threads = stack.enter_context(ThreadPoolExecutor(len(arms)))
            at_s = workload.arrival_s_R.tolist()
            runs = {
                name: threads.submit(send_at, port, requests, at_s, 1024, must_succeed=False)
                for name, port in ports.items()
            }
            for name, run in runs.items():
                results[name] = arm_result(run.result(), ports[name], workload)
                print(f"{name}: {results[name]}", flush=True)
    return results


def rows_of(results: dict[str, ArmResult], case: str, facts: Facts, requests: int) -> list[Row]:
    """Every arm's numbers."""
    units = {
        "hit_rate": ("token hit rate", "1"),
        "p50_s": ("e2e_p50", "s"),
        "p95_s": ("e2e_p95", "s"),
        "mean_s": ("e2e_mean", "s"),
        "stale_per_1000": ("stale promises per 1,000", "1"),
        "failed": ("failed requests", "count"),
    }
    return [
        make_row(
            facts,
            bench=BENCH,
            case=case,
            variant=name,
            metric=metric,
            unit=unit,
            value=Estimate(p50=float(value), n=requests),
        )
        for name, result in results.items()
        for field, (metric, unit) in units.items()
        if (value := getattr(result, field)) is not None
    ]


def report(results: dict[str, ArmResult], ideal: float, case: str, facts: Facts) -> str:
    """The table."""
    lines = [
        "# Mooncake's conversations in small, on emulated devices",
        "",
        f"{case}. One cache that never forgets would hit {100 * ideal:.1f} % of the tokens.",
        "",
        "| arm | token hit rate | p50, s | p95, s | mean, s | stale promises per 1,000 | failed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        stale = "" if result.stale_per_1000 is None else f"{result.stale_per_1000:.1f}"
        lines.append(
            f"| {name} | {100 * result.hit_rate:.1f} % | {result.p50_s:.2f} | {result.p95_s:.2f} "
            f"| {result.mean_s:.2f} | {stale} | {result.failed} |"
        )
    return "\n".join([*lines, "", source_line(facts), ""])


def main() -> None:
    """Replay, print the table, and write it with its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", type=Path, required=True, help="Mooncake's, as JSON lines")
    parser.add_argument("--requests", type=int, default=1500, help="of the trace, from its start")
    parser.add_argument("--rate", type=float, default=5.0, help="requests per second")
    parser.add_argument("--port", type=int, default=31800)
    parser.add_argument("--smoke", action="store_true", help="40 requests; write nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.prefix.replay")
    count = 40 if options.smoke else options.requests
    workload = load_trace(options.trace, requests=count).at_rate(options.rate)
    case = f"{count} requests at {options.rate:g}/s, pools of {KV_TOKENS} tokens"
    with tempfile.TemporaryDirectory() as folder:
        results = study(workload, Path(folder), options.port)
    table = report(results, ideal_hit_rate(workload), case, facts)
    print(table)
    if not options.smoke:
        save_rows(RESULTS / "prefix_replay.csv", rows_of(results, case, facts, count))
        (RESULTS / "prefix_replay.md").write_text(table)


if __name__ == "__main__":
    main()
