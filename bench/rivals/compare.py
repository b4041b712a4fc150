"""Cascadia beside what people use in its place: the same prompts, the same machine, in turn.

- every tier alone, on plain SGLang;
- the cascade that a user writes in an afternoon: a proxy before those servers, which reads
  log-probabilities over HTTP (`fronts.proxy`); its thresholds are the cheapest that are as
  accurate as the demo cascade on a sample of the calibration split, where the demo's come from too;
- the same proxy behind LiteLLM's, which is before those servers (`fronts.gateway`), where
  LiteLLM is installed;
- routers before those servers, which pick a tier by the prompt (`fronts.router`), learnt from
  the same sample, with the cheapest thresholds in the same sense;
- the demo cascade as it is. What its parts are worth: `bench.rivals.parts`.

First closed loops, as fast as each goes, over several mixes of questions; on the mixed one also at
other settings of every system, for the curve of accuracy against latency. Then open loops, at
shares of what the largest tier alone has answered of the mixed questions: Poisson arrivals, bursts,
and requests like Azure's (`bench.rivals.azure`). Their measure is the paper's SLO scale (arXiv
2506.04203) at 95 % attainment, the least multiple of a unit within which 95 % of the requests are
answered. The paper does not print its unit; here it is the mean of what the largest tier takes
alone for a request, one at a time. At last SGLang's own load generator asks three of the systems
(`bench.rivals.serving`).

All servers run at once and one system works while the others sleep. Tiers share the machine's
cores.

Example:
    python -m bench.rivals.compare               # writes bench/results/rivals.{csv,md}
    python -m bench.rivals.compare --smoke       # a few prompts; writes nothing
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.harness.client import send_all
from bench.harness.estimates import Estimate, mean
from bench.harness.load import requests
from bench.harness.rows import facts_of_this_run, source_line
from bench.rivals import workloads
from bench.rivals.page import page
from bench.rivals.report import (
    OPEN,
    SERVED,
    Load,
    closed,
    estimates,
    relations,
    save,
    set_to,
)
from bench.rivals.serving import Figures, rows_of, served
from bench.rivals.system import CONCURRENCY, System, memory_gb, processes
from bench.rivals.systems import CASCADE, PROXY, SEED, plain_servers, started
from bench.rivals.workloads import CHATS, MIXED, MIXES, questions

BENCH = "rivals"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything.

    Attributes:
        chosen_on: questions that choose thresholds.
        closed: rounds, and questions a round, by mix.
        settings: the same of every setting on the mixed questions.
        open: the same of every load.
        loads: of the open loop.
        served: the same of the runs of `sglang.bench_serving`.
        largest_per_s: what the largest tier answers of the mixed questions; None where the closed
            loop says it.
        one_plain_server: see `systems.started`.
    """

    chosen_on: int
    closed: Mapping[str, tuple[int, int]]
    settings: tuple[int, int]
    open: tuple[int, int]
    loads: Sequence[Load]
    served: tuple[int, int]
    largest_per_s: float | None = None
    one_plain_server: bool = False


FULL = Size(
    chosen_on=2_000,
    closed={mix: (7, 320) if mix == MIXED else (5, 120) for mix in MIXES},
    settings=(2, 240),
    open=(5, 50),
    loads=OPEN,
    served=(3, 60),
)
SMOKE = Size(
    chosen_on=16,
    closed={MIXED: (1, 8), CHATS: (1, 4)},
    settings=(1, 1),
    open=(1, 2),
    loads=OPEN[-1:],
    served=(0, 0),
    largest_per_s=20.0,
    one_plain_server=True,
)


def in_turn(systems: Sequence[System], number: int) -> Sequence[System]:
    """The order of a round: every other one is the other way round."""
    return systems if number % 2 == 0 else systems[::-1]


def close_loop(systems: Sequence[System], mix: str, rounds: int, count: int) -> None:
    """All rounds over a mix, after one that does not count."""
    for number in range(-1, rounds):
        prompts = questions(mix, SEED + number, count)
        for system in in_turn(systems, number):
            if number < 0:
                send_all(system.port, requests(prompts), CONCURRENCY)
                continue
            rate = system.play(closed(mix), prompts).requests_per_s
            print(f"{mix}: {system.name}: {rate:.1f}/s", file=sys.stderr, flush=True)


def other_settings(systems: Sequence[System], rounds: int, count: int) -> None:
    """All rounds of the mixed questions at every setting."""
    for number in range(rounds):
        prompts = questions(MIXED, SEED + 100 + number, count)
        for system in in_turn(systems, number):
            for name, headers in system.settings.items():
                system.play(set_to(name), prompts, headers=headers)
    print("other settings: done", file=sys.stderr, flush=True)


def alone_ms(largest: System, count: int) -> Estimate:
    """What the largest tier takes for a request, one at a time: the mean, in milliseconds."""
    prompts = requests(questions(MIXED, SEED - 2, count))
    return mean(send_all(largest.port, prompts, 1).latencies_ms)


def open_loop(systems: Sequence[System], load: Load, rate: float, rounds: int, count: int) -> None:
    """All rounds of a load."""
    for number in range(rounds):
        seed = SEED + 1_000 * (OPEN.index(load) + 1) + number
        prompts, at_s = workloads.load(load.arrivals, rate, count, seed, number)
        for system in in_turn(systems, number):
            system.play(load.case, prompts, at_s=at_s)
        print(f"{load.case}: round {number + 1}", file=sys.stderr, flush=True)


def serve_bench(
    systems: Sequence[System], rate: float, rounds: int, count: int
) -> dict[str, list[Figures]]:
    """All runs of `sglang.bench_serving`, by system."""
    _, (_, model, *_) = plain_servers()["small"]
    figures: dict[str, list[Figures]] = {system.name: [] for system in systems} if rounds else {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            seed = SEED + 500 + number
            prompts = questions(MIXED, seed, count)
            for system in in_turn(systems, number):
                run = served(Path(folder), system.port, model, prompts, rate, seed)
                figures[system.name].append(run)
    return figures


def main() -> None:
    """Measure, print, and write the rows and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=32000, help="below that of the first server")
    parser.add_argument("--litellm", type=Path, help="its command; left out where there is none")
    parser.add_argument("--smoke", action="store_true", help="a few prompts; writes nothing")
    options = parser.parse_args()
    litellm = options.litellm
    if litellm is not None and not litellm.exists():
        print(f"without LiteLLM: there is no {litellm}", file=sys.stderr)
        litellm = None
    facts = facts_of_this_run("bench.rivals.compare")
    size = SMOKE if options.smoke else FULL
    with ExitStack() as stack:
        systems = started(
            stack,
            options.port,
            size.chosen_on,
            litellm,
            one_plain_server=size.one_plain_server,
        )
        rivals = [system for system in systems if system.is_rival]
        for mix, (rounds, count) in size.closed.items():
            close_loop(systems, mix, rounds, count)
            if mix == MIXED:
                for system in systems:
                    system.memory_gb = memory_gb(processes(system.pids))
        other_settings(systems, *size.settings)
        alone = alone_ms(systems[-1], size.open[1])
        rounds = systems[-1].rounds[closed(MIXED)]
        full = size.largest_per_s or float(np.median([played.requests_per_s for played in rounds]))
        for load in size.loads:
            open_loop(rivals, load, load.share * full, *size.open)
        few = [rival for rival in rivals if rival.name in (CASCADE, PROXY) or rival is systems[-1]]
        figures = serve_bench(few, SERVED.share * full, *size.served)
    table = page(systems, full, alone.p50, figures)
    print(table)
    if options.smoke:
        return
    rows = [
        (systems[-1].name, "one at a time", "latency mean", "ms", alone),
        *(
            (system.name, *estimate)
            for system in systems
            for estimate in estimates(system, alone.p50)
        ),
        *relations(systems),
        *(
            (name, f"{SERVED.case}, sglang.bench_serving", *row)
            for name, runs in figures.items()
            for row in rows_of(runs)
        ),
    ]
    save(facts, BENCH, rows, f"# Rivals\n\n{source_line(facts)}\n\n{table}\n")


if __name__ == "__main__":
    main()
