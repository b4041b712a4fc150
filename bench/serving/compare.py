"""The demo cascade beside plain SGLang servers of each of its tiers, and its ceiling.

All servers run at once and one of them works while the others sleep. The same unseen prompts go to
the cascade at its own thresholds and to each tier alone, block by block; which comes first changes
from block to block. Part of them also goes through the cascade at other thresholds, and streamed.
Answers are greedy and checked exactly.

Example:
    python -m bench.serving.compare               # writes bench/results/serving.{csv,md}
    python -m bench.serving.compare --smoke       # a few prompts; writes nothing
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import RESULTS
from bench.harness.client import send_all
from bench.harness.estimates import Estimate, mean, mean_difference, median_ratio
from bench.harness.load import BUFFERED, questions, requests
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from bench.harness.server import running_server
from bench.serving.arms import Arm
from bench.serving.ceiling import Ceiling, ceiling
from bench.serving.report import report
from cascadia_sglang.config.cascade_file import read_cascade
from demo.tasks.families import Row as Question

BENCH = "serving"
CASCADE = "cascade"
SEED = 20_265
CONCURRENCY = 64
SWEEP = (0.3, 0.5, 0.7, 0.9, 0.97)
FLAGS = ("--max-running-requests", "128", "--log-level", "warning")


def start_servers(stack: ExitStack, config: Path, port: int) -> tuple[Arm, list[Arm]]:
    """The cascade and each of its tiers alone, every server on a port of its own."""
    logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    tiers: list[dict[str, Any]] = read_cascade(config).data["tiers"]
    flags = [("--plugin", "cascadia", "--cascade-config", str(config))]
    for tier in tiers:
        tier_flags = [
            (f"--{key.replace('_', '-')}", str(v)) for key, v in tier["server_args"].items()
        ]
        flags.append(
            ("--model-path", tier["model_path"], *(part for pair in tier_flags for part in pair))
        )
    names = [CASCADE, *(f"{tier['name']} alone" for tier in tiers)]
    cascade, *alone = (
        Arm(
            name=name,
            port=stack.enter_context(
                running_server((*flag, *FLAGS), port=port + index, log=logs / f"{index}.log")
            ),
        )
        for index, (name, flag) in enumerate(zip(names, flags, strict=True))
    )
    return cascade, alone


def ask(arms: Sequence[Arm], prompts: list[Question], size: int, width: int) -> None:
    """Ask every arm every question, in blocks of `size` at concurrency `width`."""
    for number, block in enumerate(_blocks(prompts, size)):
        for arm in arms if number % 2 == 0 else reversed(arms):
            arm.add(block, send_all(arm.port, requests(block, headers=arm.headers), width))
            print(f"{arm.name}: {arm.requests_per_s[-1]:.1f}/s", file=sys.stderr, flush=True)


def ask_streamed(arms: Sequence[Arm], prompts: list[Question], size: int, width: int) -> None:
    """Ask every arm for streams, to see when the first bytes come."""
    for number, block in enumerate(_blocks(prompts, size)):
        for arm in arms if number % 2 == 0 else reversed(arms):
            sent = requests(block, stream_interval=1, headers=BUFFERED)
            arm.add_streamed(send_all(arm.port, sent, width))


def _blocks(prompts: list[Question], size: int) -> Iterator[list[Question]]:
    return (prompts[start : start + size] for start in range(0, len(prompts), size))


def relations(
    cascade: Arm, alone: Sequence[Arm], best: Ceiling
) -> Iterator[tuple[str, str, str, Estimate]]:
    """Variant, metric, unit and value of what no arm says by itself."""
    largest = alone[-1]
    count = len(largest.right)
    difference = mean_difference(cascade.right, largest.right)
    yield f"{cascade.name} - {largest.name}", "accuracy_difference", "1", difference
    for arm in (cascade, *alone[:-1]):
        ratio = median_ratio(arm.requests_per_s, largest.requests_per_s)
        yield f"{arm.name}/{largest.name}", "requests_per_s", "1", ratio
    last_tier = largest.name.removesuffix(" alone")
    below = mean([tier != last_tier for tier in cascade.tiers])
    yield cascade.name, f"answered_below_{last_tier}", "1", below
    for name, value in (
        ("ceiling, tiers in turn", best.in_turn_per_s),
        ("ceiling, tiers side by side", best.side_by_side_per_s),
    ):
        yield name, "requests_per_s", "1/s", Estimate(p50=value, n=count)
    yield "ceiling", "accuracy", "1", Estimate(p50=best.accuracy, n=count)


def main() -> None:
    """Measure, print the report, and write it with its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("demo/cascade.yaml"))
    parser.add_argument("--prompts", type=int, default=5000)
    parser.add_argument("--part", type=int, default=1000, help="prompts of a sweep or a stream")
    parser.add_argument("--block", type=int, default=500, help="prompts a block")
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY)
    parser.add_argument("--port", type=int, default=31000, help="of the first server")
    parser.add_argument("--smoke", action="store_true", help="64 prompts; writes nothing")
    args = parser.parse_args()
    count, part, size = (64, 32, 32) if args.smoke else (args.prompts, args.part, args.block)
    facts = facts_of_this_run("bench.serving.compare")
    case = f"{args.config}, concurrency {args.concurrency}"
    prompts = questions(SEED, count)
    with ExitStack() as stack:
        cascade, alone = start_servers(stack, args.config, args.port)
        sweep = [
            Arm(
                name=f"{CASCADE} at {threshold}",
                port=cascade.port,
                headers={"x-cascadia-threshold": str(threshold)},
            )
            for threshold in SWEEP
        ]
        for arm in (cascade, *alone):
            warm = requests(questions(SEED + 1, 2 * args.concurrency))
            send_all(arm.port, warm, args.concurrency)
        ask([cascade, *alone], prompts, size, args.concurrency)
        ask(sweep, prompts[:part], size, args.concurrency)
        ask_streamed([cascade, *alone], questions(SEED + 2, part), size, args.concurrency)
    best = ceiling([arm.right for arm in alone], [count / arm.seconds for arm in alone])
    results = [
        (arm.name, *row) for arm in (cascade, *alone, *sweep) for row in arm.estimates()
    ] + list(relations(cascade, alone, best))
    rows = [
        make_row(
            facts, bench=BENCH, case=case, variant=variant, metric=metric, unit=unit, value=value
        )
        for variant, metric, unit, value in results
    ]
    page = report(cascade, alone, sweep, best, facts, case)
    name = BENCH if args.concurrency == CONCURRENCY else f"{BENCH}_concurrency_{args.concurrency}"
    print(page)
    if not args.smoke:
        save_rows(RESULTS / f"{name}.csv", rows)
        (RESULTS / f"{name}.md").write_text(page)


if __name__ == "__main__":
    main()
