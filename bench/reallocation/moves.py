"""What a move costs the requests that run meanwhile: ten moves there and back under a steady load.

Two workers of the small tier and two of the large on four emulated devices; one worker goes to the
large tier and back, ten moves in all, while requests come as a Poisson process at 65 % of what the
slower of both plans can carry, which is measured first; the emulated devices are such that both
carry about as much. With --unpaced the workers compute at the host's own speed and share its cores,
so nothing is gained by moving and only the losses count.

Example:
    python -m bench.reallocation.moves             # 5,200 requests; writes bench/results/moves.csv
    python -m bench.reallocation.moves --unpaced
    python -m bench.reallocation.moves --smoke     # two moves; writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench import RESULTS
from bench.harness.client import Round, send_at
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import Facts, Row, facts_of_this_run, make_row, save_rows
from bench.reallocation.servers import cascade, requests_of, saturation_per_s, set_split
from cascadia_sglang.planner.workload.workload import poisson_arrivals_s
from demo.tasks.families import TEST_FAMILIES
from demo.tasks.splits import sample

BENCH = "reallocation.moves"
LOAD = 0.65
HERE, THERE = 2, 1
SEED = 90_000
# Steps so slow that the host idles between them.
PROFILE = Path("bench/reallocation/steady.json")
THRESHOLD = 0.9588
RUNNING = {"large": 16}
# Without the one of long answers: a worker has to finish those that it began before it can go.
FAMILIES = tuple(name for name in TEST_FAMILIES if name != "steps")
# Of the run, before the first move: what the moves are compared with.
QUIET = 0.25
# Spans before the first move that each move is compared with.
CONTROLS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many requests and moves; `waiting` requests run while the rate is measured."""

    requests: int
    moves: int
    waiting: int


FULL = Size(requests=5200, moves=10, waiting=128)
SMOKE = Size(requests=160, moves=2, waiting=32)


@dataclass(slots=True)
class Movers:
    """Moves at given times of the run, in a thread; `spans` are their beginnings and ends."""

    port: int
    at_s: list[float]
    spans: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def run(self, started: float) -> None:
        for number, due in enumerate(self.at_s):
            time.sleep(max(0.0, started + due - time.perf_counter()))
            began = time.perf_counter() - started
            try:
                set_split(self.port, HERE if number % 2 else THERE)
            except (RuntimeError, OSError) as error:
                self.errors.append(str(error))
            self.spans.append((began, time.perf_counter() - started))


def run(port: int, size: Size) -> tuple[dict[int, float], np.ndarray, Round, Movers]:
    """Measure what both plans carry, then load and move.

    Returns:
        What each plan carries, arrival times [R], the replies, and the moves.
    """
    most = {}
    for split in (THERE, HERE):
        set_split(port, split)
        most[split] = saturation_per_s(port, FAMILIES, size.waiting, SEED + split)
    rate = LOAD * min(most.values())
    at_s = poisson_arrivals_s(rate, size.requests, SEED)
    seconds = float(at_s[-1])
    first = QUIET * seconds
    due = np.linspace(first, seconds, size.moves, endpoint=False).tolist()
    movers = Movers(port, due)
    rows = sample("test", SEED, size.requests, FAMILIES)
    thread = threading.Thread(target=movers.run, args=(time.perf_counter(),), daemon=True)
    thread.start()
    sent = send_at(port, requests_of(rows), at_s.tolist(), must_succeed=False)
    thread.join()
    return most, at_s, sent, movers


def numbers(
    at_s: np.ndarray, sent: Round, movers: Movers, most: dict[int, float]
) -> dict[str, tuple[str, Estimate]]:
    """Unit and value of every metric.

    Of the requests under way at any time of a span of seconds, long ones are more than of all
    requests. So those of the moves are compared with those of as long spans before the first move.
    """
    seconds = np.array([reply.seconds for reply in sent.replies])
    failed = sum(reply.status != 200 for reply in sent.replies)
    durations = [ended - began for began, ended in movers.spans]
    first = movers.spans[0][0]
    # Without what came while the queues were still filling.
    starts = np.linspace(0.2 * first, first - max(durations), CONTROLS * len(durations))
    controls = list(zip(starts, starts + np.tile(durations, CONTROLS), strict=True))
    before, moving = under_way(at_s, seconds, controls), under_way(at_s, seconds, movers.spans)
    p95_before, p95_moving = (float(np.quantile(times_s, 0.95)) for times_s in (before, moving))
    came_before, came_after = (
        float(np.quantile(seconds[chosen], 0.95))
        for chosen in ((at_s >= 0.2 * first) & (at_s < first), at_s >= first)
    )

    def estimate(value: float, n: int) -> Estimate:
        return Estimate(p50=value, n=n)

    return {
        "requests": ("count", estimate(len(at_s), 1)),
        "rate": ("1/s", estimate(LOAD * min(most.values()), 1)),
        "the plan before carries": ("1/s", estimate(most[HERE], 1)),
        "the plan moved to carries": ("1/s", estimate(most[THERE], 1)),
        "failed requests": ("count", estimate(failed, len(at_s))),
        "failed moves": ("count", estimate(len(movers.errors), len(durations))),
        "e2e_p95 before": ("ms", estimate(1000 * p95_before, len(before))),
        "e2e_p95 while moving": ("ms", estimate(1000 * p95_moving, len(moving))),
        "e2e_p95 while moving / before": ("1", estimate(p95_moving / p95_before, 1)),
        "e2e_p95 of all from the first move on / before": (
            "1",
            estimate(came_after / came_before, 1),
        ),
        "duration of a move": ("s", spread(durations)),
        "longest move": ("s", estimate(max(durations), len(durations))),
    }


def under_way(
    at_s: np.ndarray, seconds: np.ndarray, spans: Sequence[tuple[float, float]]
) -> np.ndarray:
    """Latencies of the requests under way at any time of a span; once for every span."""
    parts = [seconds[(at_s <= ended) & (at_s + seconds >= began)] for began, ended in spans]
    return np.concatenate(parts)


def rows_of(values: dict[str, tuple[str, Estimate]], case: str, facts: Facts) -> list[Row]:
    """Every metric as a row."""
    return [
        make_row(
            facts, bench=BENCH, case=case, variant="moves", metric=name, unit=unit, value=value
        )
        for name, (unit, value) in values.items()
    ]


def main() -> None:
    """Run, print, and write what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--unpaced", action="store_true", help="at the host's own speed")
    parser.add_argument("--port", type=int, default=31500)
    parser.add_argument("--smoke", action="store_true", help="briefly; write nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.reallocation.moves")
    size = SMOKE if options.smoke else FULL
    with tempfile.TemporaryDirectory() as folder:
        profile = None if options.unpaced else PROFILE
        server = cascade(
            Path(folder),
            options.port,
            HERE,
            profile=profile,
            threshold=THRESHOLD,
            running=RUNNING,
        )
        with server as port:
            most, at_s, sent, movers = run(port, size)
    values = numbers(at_s, sent, movers, most)
    for name, (unit, value) in values.items():
        print(f"{name}: {value.p50:.4g} {unit}")
    for error in movers.errors:
        print(error)
    case = "host's own speed" if options.unpaced else "emulated devices"
    if not options.smoke:
        save_rows(RESULTS / "moves.csv", rows_of(values, case, facts))
    if values["failed requests"][1].p50 or movers.errors:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
