"""What the cascade costs a request that its first tier answers, against plain SGLang.

Two servers run at once and one of them works while the other sleeps: a cascade of the demo's
three tiers with threshold 0, so that only the first is asked, and plain SGLang with the small
model alone. Both have the same SGLang flags and one thread a worker. Rounds of the two alternate
in pairs; a pair sends the same prompts to both.

Example:
    python -m bench.router.overhead                     # writes bench/results/router.{csv,md}
    python -m bench.router.overhead --smoke             # every cell once, briefly; writes nothing
    python -m bench.router.overhead --control           # plain against plain: the noise
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import RESULTS
from bench.harness.client import Round, send_all
from bench.harness.estimates import Estimate, median_ratio, spread
from bench.harness.load import BUFFERED, questions, requests, text_of, tier_of
from bench.harness.rows import Facts, Row, facts_of_this_run, make_row, save_rows, source_line
from bench.harness.server import running_server

BENCH = "router"
SMALL = "demo/models/small"
TIERS = ",".join(f"{name}=demo/models/{name}" for name in ("small", "middle", "large"))
FLAGS = ("--max-total-tokens", "65536", "--max-running-requests", "128", "--log-level", "warning")
PLAIN = ("--model-path", SMALL, *FLAGS)
CASCADE = (
    *("--plugin", "cascadia", "--cascade-tiers", TIERS),
    *("--cascade-thresholds", "0,0", *FLAGS),
)

CASES = {"not streamed": None, "stream_interval 4": 4, "stream_interval 1": 1}
CONCURRENCIES = (1, 32, 128)
GATE_PROMPTS = 50

LEAST_THROUGHPUT_RATIO = 0.95
MOST_LATENCY_RATIO = 1.05

METRICS: tuple[tuple[str, str, Callable[[Round], float]], ...] = (
    ("requests_per_s", "1/s", lambda sent: sent.requests_per_s),
    ("latency_p50", "ms", lambda sent: statistics.median(sent.latencies_ms)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One case at one concurrency; the rounds of both sides, pair by pair."""

    case: str
    concurrency: int
    plain: list[Round] = field(default_factory=list)
    cascade: list[Round] = field(default_factory=list)

    def estimates(self) -> Iterator[tuple[str, str, str, Estimate]]:
        """Variant, metric, unit and value of every row."""
        for metric, unit, of_round in METRICS:
            plain, cascade = map(of_round, self.plain), map(of_round, self.cascade)
            before, after = list(plain), list(cascade)
            yield "plain", metric, unit, spread(before)
            yield "cascade", metric, unit, spread(after)
            yield "cascade/plain", metric, "1", median_ratio(after, before)


def measure(
    ports: tuple[int, int], case: str, concurrency: int, pairs: int, round_s: float
) -> Cell:
    """Alternate rounds of the two servers; which comes first changes from pair to pair.

    Args:
        round_s: a round gets as many requests as the faster side serves in this time, and at
            least one a connection.
    """
    cell = Cell(case=case, concurrency=concurrency)
    interval = CASES[case]
    seeds = itertools.count(1000)

    def batch(count: int) -> list[bytes]:
        return requests(questions(next(seeds), count), stream_interval=interval, headers=BUFFERED)

    # The first round of each warms it up, the second tells how many requests fill a round.
    warm = [send_all(port, batch(max(concurrency, 8)), concurrency) for port in ports * 2]
    fastest_per_s = max(sent.requests_per_s for sent in warm[2:])
    count = max(concurrency, math.ceil(1.1 * round_s * fastest_per_s))
    sides = ((ports[0], cell.plain), (ports[1], cell.cascade))
    for number in range(pairs):
        sent = batch(count)
        for port, rounds in sides if number % 2 == 0 else reversed(sides):
            rounds.append(send_all(port, sent, concurrency))
    return cell


def check_same_answers(ports: tuple[int, int], second_is_cascade: bool) -> None:
    """The gate before any timing: both sides give the same greedy text, from the small tier.

    Raises:
        SystemExit: naming the first prompt whose answers differ.
    """
    rows = questions(999, GATE_PROMPTS)
    for case, interval in CASES.items():
        sent = requests(rows, stream_interval=interval, headers=BUFFERED)
        plain, cascade = (send_all(port, sent, 1).replies for port in ports)
        for row, plain_reply, cascade_reply in zip(rows, plain, cascade, strict=True):
            if text_of(plain_reply) != text_of(cascade_reply):
                raise SystemExit(
                    f"{case}: {row.prompt!r} gives {text_of(plain_reply)!r} by plain SGLang, "
                    f"{text_of(cascade_reply)!r} by the cascade"
                )
            if second_is_cascade and tier_of(cascade_reply) != "small":
                raise SystemExit(f"{case}: {row.prompt!r} was answered by {tier_of(cascade_reply)}")


def rows_of(cells: Sequence[Cell], facts: Facts) -> list[Row]:
    """All rows of a run."""
    return [
        make_row(
            facts,
            bench=BENCH,
            case=f"{cell.case}, concurrency {cell.concurrency}",
            variant=variant,
            metric=metric,
            unit=unit,
            value=value,
        )
        for cell in cells
        for variant, metric, unit, value in cell.estimates()
    ]


def report(cells: Sequence[Cell], facts: Facts) -> str:
    """Markdown: what it says, a line a cell, where it comes from."""
    lines = [
        "# Cascade against plain SGLang",
        "",
        "A cascade of three tiers with threshold 0, only its first at work, against plain SGLang "
        "with the small model. Medians over rounds; ratios are medians over pairs of rounds with a "
        "95 % bootstrap interval. The cascade buffers: a streamed answer comes in one piece.",
        "",
        "| case | concurrency | rounds of requests | plain, requests/s | cascade, requests/s "
        f"| ratio (≥ {LEAST_THROUGHPUT_RATIO}) | plain, p50 ms | cascade, p50 ms "
        f"| ratio (≤ {MOST_LATENCY_RATIO}) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        values = {(variant, metric): value for variant, metric, _, value in cell.estimates()}
        numbers = []
        for metric, _, _ in METRICS:
            numbers += [f"{values[side, metric].p50:.4g}" for side in ("plain", "cascade")]
            ratio = values["cascade/plain", metric]
            numbers.append(f"{ratio.p50:.3f} [{ratio.low95:.3f}, {ratio.high95:.3f}]")
        rounds = f"{len(cell.plain)} of {len(cell.plain[0].replies)}"
        lines.append(f"| {cell.case} | {cell.concurrency} | {rounds} | {' | '.join(numbers)} |")
    return "\n".join([*lines, "", source_line(facts), ""])


def main() -> None:
    """Measure, print the report, and write it with its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=9, help="pairs of rounds a cell")
    parser.add_argument("--round-s", type=float, default=1.5, help="a round takes at least this")
    parser.add_argument("--port", type=int, default=31000, help="of the first server; and the next")
    parser.add_argument("--smoke", action="store_true", help="every cell once, briefly")
    parser.add_argument("--control", action="store_true", help="plain SGLang on both sides")
    args = parser.parse_args()
    pairs, round_s = (1, 0.1) if args.smoke else (args.pairs, args.round_s)
    facts = facts_of_this_run("bench.router.overhead")
    cells = []
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = (PLAIN, PLAIN if args.control else CASCADE)
        first, second = (
            stack.enter_context(
                running_server(flags, port=args.port + index, log=logs / f"{index}.log")
            )
            for index, flags in enumerate(servers)
        )
        ports = (first, second)
        check_same_answers(ports, second_is_cascade=not args.control)
        for case, concurrency in itertools.product(CASES, CONCURRENCIES):
            print(f"{case}, concurrency {concurrency}", file=sys.stderr, flush=True)
            cells.append(measure(ports, case, concurrency, pairs, round_s))
    print(report(cells, facts))
    if not (args.smoke or args.control):
        save_rows(RESULTS / f"{BENCH}.csv", rows_of(cells, facts))
        (RESULTS / f"{BENCH}.md").write_text(report(cells, facts))


if __name__ == "__main__":
    main()
