"""Cascadia beside what people use in its place: the same prompts, the same machine, in turn.

- every tier alone, on plain SGLang;
- the cascade that a user writes in an afternoon: a proxy before those servers, which reads
  log-probabilities over HTTP (`bench.rivals.proxy`); its thresholds are the cheapest that are as
  accurate as the cascade on a sample of the calibration split, where the cascade's come from too;
- the demo cascade as it is, with drafts and a second judge, and once writing every answer anew.

First a closed loop, as fast as each goes. Then an open loop, Poisson arrivals at shares of what the
largest tier alone has answered in the closed one. Its measure is the paper's SLO scale
(arXiv 2506.04203) at 95 % attainment, the least multiple of a unit within which 95 % of the
requests are answered. The paper does not print its unit; here it is the mean of what the largest
tier takes alone for a request, one at a time.

All servers run at once and one system works while the others sleep. Tiers share the machine's
cores.

Example:
    python -m bench.rivals.compare               # writes bench/results/rivals.{csv,md}
    python -m bench.rivals.compare --smoke       # a few prompts; writes nothing
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from bench.harness.client import send_all
from bench.harness.estimates import Estimate, mean
from bench.harness.load import requests
from bench.harness.rows import RESULTS, facts_of_this_run, make_row, save_rows, source_line
from bench.ladder.splits import sample
from bench.rivals.report import estimates, page, relations
from bench.rivals.systems import (
    CASCADE,
    CASCADES,
    CONCURRENCY,
    CONFIG,
    SEED,
    System,
    memory_gb,
    processes,
    started,
)
from cascadia_sglang.planner.workload import poisson_arrivals_s

BENCH = "rivals"
SHARES = (0.3, 0.6, 0.9)  # of the largest tier's requests per second


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Questions that choose thresholds; rounds and questions a round, of both loops."""

    chosen_on: int
    rounds: int
    questions: int
    open_rounds: int
    open_questions: int


FULL = Size(chosen_on=2_000, rounds=7, questions=320, open_rounds=5, open_questions=60)
SMOKE = Size(chosen_on=32, rounds=1, questions=32, open_rounds=1, open_questions=6)


def in_turn(systems: Sequence[System], number: int) -> Sequence[System]:
    """The order of a round: every other one is the other way round."""
    return systems if number % 2 == 0 else systems[::-1]


def close_loop(systems: Sequence[System], size: Size) -> None:
    """All rounds of the closed loop, after one that does not count."""
    for number in range(-1, size.rounds):
        questions = sample("test", SEED + number, size.questions)
        for system in in_turn(systems, number):
            if number < 0:
                send_all(system.port, requests(questions), CONCURRENCY)
                continue
            system.ask(questions)
            rate = system.requests_per_s[-1]
            print(f"{system.name}: {rate:.1f}/s", file=sys.stderr, flush=True)
    for system in systems:
        system.memory_gb = memory_gb(processes(system.pids))


def alone_ms(largest: System, size: Size) -> Estimate:
    """What the largest tier takes for a request, one at a time: the mean, in milliseconds."""
    questions = sample("test", SEED - 2, size.open_questions)
    return mean(send_all(largest.port, requests(questions), 1).latencies_ms)


def open_loop(systems: Sequence[System], size: Size) -> dict[float, float]:
    """All rounds of the open loop at every share; the requests per second of each."""
    rates = {share: share * float(np.median(systems[-1].requests_per_s)) for share in SHARES}
    for place, (share, rate) in enumerate(rates.items()):
        for number in range(size.open_rounds):
            seed = SEED + 1_000 * (place + 1) + number
            questions = sample("test", seed, size.open_questions)
            at_s = poisson_arrivals_s(rate, size.open_questions, seed).tolist()
            for system in in_turn(systems, number):
                system.ask_at(share, questions, at_s)
            print(f"{rate:.1f}/s, round {number + 1}", file=sys.stderr, flush=True)
    return rates


def main() -> None:
    """Measure, print, and write the rows and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=32000, help="below that of the first server")
    parser.add_argument("--smoke", action="store_true", help="a few prompts; writes nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.rivals.compare")
    size = SMOKE if options.smoke else FULL
    with ExitStack() as stack:
        cascades = {CASCADE: CASCADES[CASCADE]} if options.smoke else CASCADES
        systems = started(stack, options.port, size.chosen_on, cascades)
        close_loop(systems, size)
        alone = alone_ms(systems[-1], size)
        rates = open_loop(systems, size)
    table = page(systems, rates, alone.p50)
    print(table)
    if options.smoke:
        return
    told = [
        (systems[-1].name, "one at a time", "latency mean", "ms", alone),
        *((system.name, *one) for system in systems for one in estimates(system, alone.p50)),
        *relations(systems),
    ]
    save_rows(
        RESULTS / f"{BENCH}.csv",
        [
            make_row(
                facts,
                bench=BENCH,
                case=f"{CONFIG}, {case}",
                variant=variant,
                metric=metric,
                unit=unit,
                value=value,
            )
            for variant, case, metric, unit, value in told
        ],
    )
    (RESULTS / f"{BENCH}.md").write_text(f"# Rivals\n\n{source_line(facts)}\n\n{table}\n")


if __name__ == "__main__":
    main()
