"""Whether a tier's prefixes survive a move of capacity.

Questions over a few long system messages come at a steady rate to one small worker on an emulated
device; then the tier gets a second one, and loses it again, some times over. Measured is the token
hit rate of the tier before each move and in the five seconds after it, with the hottest prefixes
carried to the new worker and without. Both servers are asked the same at the same times.

Example:
    python -m bench.prefix.moved            # writes bench/results/prefix_moved.csv
    python -m bench.prefix.moved --smoke    # one move; writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from bench import RESULTS
from bench.harness.admin import ask
from bench.harness.client import Round, post, send_at
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import Facts, Row, facts_of_this_run, make_row, save_rows
from bench.prefix.chats import TURNS, chats
from bench.prefix.serving import serving, tier
from cascadia_sglang.planner.workload.workload import poisson_arrivals_s
from demo.tasks.families import MAX_ANSWER_TOKENS

BENCH = "prefix.moved"
PROFILE = "bench/prefix/emulated.json"
ARMS = {"carried": 2.0, "not carried": 0.0}
SYSTEMS = 12
# Of what one worker carries with its caches warm.
RATE_PER_S = 3.0
# Between two moves, and looked at before and after one.
GAP_S, LOOK_S = 15.0, 5.0
SEED = 60_000


def configured(carry_s: float) -> dict[str, Any]:
    """Two tiers; every answer of the small one is accepted."""
    return {
        "tiers": [tier("small"), tier("large")],
        "routing": {"thresholds": [0.0]},
        "prefix": {"carry_s": carry_s, "warm": "off"},
        "planner": {"emulate": PROFILE, "gpu_budget": 3},
    }


def requests_of(count: int) -> list[bytes]:
    """Questions over one of the system messages each."""
    rng = Random(SEED)
    some = chats(SEED, SYSTEMS)
    sampling = {"temperature": 0, "max_new_tokens": MAX_ANSWER_TOKENS}
    requests = []
    for _ in range(count):
        chat = rng.choice(some)
        text = f"{chat.system}\nget {chat.keys[rng.randrange(TURNS)]}"
        requests.append(post("/generate", {"text": text, "sampling_params": sampling}))
    return requests


def move(port: int, moves: int, started: float) -> list[tuple[float, float]]:
    """Give the tier a second worker and take it away; when each worker more began and was there."""
    spans = []
    for number in range(2 * moves):
        due = started + (number + 1) * GAP_S
        time.sleep(max(0.0, due - time.perf_counter()))
        began = time.perf_counter() - started
        body = {"tier": "small", "replicas": 2 - number % 2}
        ask(port, "POST", "/cascadia/workers", body)
        if number % 2 == 0:
            spans.append((began, time.perf_counter() - started))
    return spans


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveResult:
    """Hit rates before each move and after it, and what the moves took."""

    before: list[float]
    after: list[float]
    move_s: list[float]
    p95_after_s: float


def move_result(sent: Round, at_s: np.ndarray, spans: Sequence[tuple[float, float]]) -> MoveResult:
    """By the time a request came."""
    metas = [reply.json()["meta_info"] for reply in sent.replies]
    cached = np.array([meta["cached_tokens"] for meta in metas], float)
    prompts = np.array([meta["prompt_tokens"] for meta in metas], float)
    seconds = np.array([reply.seconds for reply in sent.replies])

    def hit_rate(start_s: float, end_s: float) -> float:
        chosen = (at_s >= start_s) & (at_s < end_s)
        return float(cached[chosen].sum() / prompts[chosen].sum())

    after = np.zeros(len(at_s), bool)
    for _, ended in spans:
        after |= (at_s >= ended) & (at_s < ended + LOOK_S)
    return MoveResult(
        before=[hit_rate(began - 2 * LOOK_S, began) for began, _ in spans],
        after=[hit_rate(ended, ended + LOOK_S) for _, ended in spans],
        move_s=[ended - began for began, ended in spans],
        p95_after_s=float(np.quantile(seconds[after], 0.95)),
    )


def study(folder: Path, port: int, moves: int) -> dict[str, MoveResult]:
    """Both arms at once."""
    seconds = (2 * moves + 1) * GAP_S
    count = round(RATE_PER_S * seconds)
    at_s = poisson_arrivals_s(RATE_PER_S, count, SEED)
    requests = requests_of(count)
    with ExitStack() as stack:
        ports = {
            name: stack.enter_context(serving(folder, port + number, configured(carry_s)))
            for number, (name, carry_s) in enumerate(ARMS.items())
        }
        threads = stack.enter_context(ThreadPoolExecutor(2 * len(ARMS)))
        started = time.perf_counter()
        sent = {
            name: threads.submit(send_at, port, requests, at_s.tolist())
            for name, port in ports.items()
        }
        moved = {name: threads.submit(move, port, moves, started) for name, port in ports.items()}
        return {name: move_result(sent[name].result(), at_s, moved[name].result()) for name in ARMS}


def rows_of(results: dict[str, MoveResult], facts: Facts) -> list[Row]:
    """Every arm's numbers."""
    rows = []
    for name, result in results.items():
        ratios = [after / before for after, before in zip(result.after, result.before, strict=True)]
        values = {
            "hit rate before": ("1", spread(result.before)),
            "hit rate in 5 s after": ("1", spread(result.after)),
            "after / before": ("1", spread(ratios)),
            "worst after / before": ("1", Estimate(p50=min(ratios), n=len(ratios))),
            "move": ("s", spread(result.move_s)),
            "e2e_p95 in 5 s after": ("s", Estimate(p50=result.p95_after_s, n=len(ratios))),
        }
        for metric, (unit, value) in values.items():
            print(f"{name}: {metric} {value.p50:.3f} {unit}")
            rows.append(
                make_row(
                    facts,
                    bench=BENCH,
                    case=f"{SYSTEMS} system messages, {RATE_PER_S:g}/s, emulated device",
                    variant=name,
                    metric=metric,
                    unit=unit,
                    value=value,
                )
            )
    return rows


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moves", type=int, default=5)
    parser.add_argument("--port", type=int, default=31900)
    parser.add_argument("--smoke", action="store_true", help="one move; write nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.prefix.moved")
    with tempfile.TemporaryDirectory() as folder:
        moves = 1 if options.smoke else options.moves
        rows = rows_of(study(Path(folder), options.port, moves), facts)
    if not options.smoke:
        save_rows(RESULTS / "prefix_moved.csv", rows)


if __name__ == "__main__":
    main()
