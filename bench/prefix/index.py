"""The prefix index in numbers: memory of a million blocks, lookups, growth, and losing a worker.

Example:
    python -m bench.prefix.index            # writes bench/results/prefix_index.csv
    python -m bench.prefix.index --smoke    # fewer blocks; writes nothing
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import Facts, Row, facts_of_this_run, make_row, save_rows
from cascadia_sglang.prefix.block_hashes import block_hashes
from cascadia_sglang.prefix.index import PrefixIndex

BENCH = "prefix.index"
WORKERS = 4
BLOCK_TOKENS, PROMPT_BLOCKS = 16, 64
REPEATS = 500
BATCH = 64


def micros(call: Callable[[], object], repeats: int) -> Estimate:
    """Of a call, after one that does not count."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(1e6 * (time.perf_counter() - started))
    return spread(seconds)


def measure(blocks: int, repeats: int) -> dict[str, tuple[str, Estimate]]:
    """Unit and value of every metric."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(-(2**63), 2**63, blocks)
    index = PrefixIndex(2 * blocks)
    workers = [f"small-{number}" for number in range(WORKERS)]
    for worker in workers:
        index.add_worker(worker)
    pauses = []
    started = time.perf_counter()
    for start in range(0, blocks, BATCH):
        begun = time.perf_counter()
        index.stored(workers[start // BATCH % WORKERS], hashes[start : start + BATCH])
        pauses.append(1e3 * (time.perf_counter() - begun))
    seconds = time.perf_counter() - started
    nbytes = index.nbytes
    prompt = rng.integers(0, 150_000, PROMPT_BLOCKS * BLOCK_TOKENS).tolist()
    prompt_hashes = block_hashes(prompt, BLOCK_TOKENS)
    for worker in workers:
        index.stored(worker, prompt_hashes)

    def ask() -> None:
        index.held(prompt_hashes, workers)

    def hash_and_ask() -> None:
        index.held(block_hashes(prompt, BLOCK_TOKENS), workers)

    lookup, whole = micros(ask, repeats), micros(hash_and_ask, repeats)
    started = time.perf_counter()
    index.drop_worker(workers[0])
    dropped_ms = 1e3 * (time.perf_counter() - started)
    return {
        "memory": ("MB", Estimate(p50=nbytes / 1e6, n=1)),
        "stored": ("1/s", Estimate(p50=blocks / seconds, n=1)),
        "longest growth": ("ms", Estimate(p50=max(pauses), n=1)),
        f"lookup of {PROMPT_BLOCKS} blocks at {WORKERS} workers": ("us", lookup),
        f"hashes of {PROMPT_BLOCKS} blocks and lookup": ("us", whole),
        f"drop of a worker with {blocks // WORKERS} blocks": ("ms", Estimate(p50=dropped_ms, n=1)),
    }


def rows_of(values: dict[str, tuple[str, Estimate]], blocks: int, facts: Facts) -> list[Row]:
    return [
        make_row(
            facts,
            bench=BENCH,
            case=f"{blocks} blocks",
            variant="index",
            metric=metric,
            unit=unit,
            value=value,
        )
        for metric, (unit, value) in values.items()
    ]


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="fewer blocks; write nothing")
    options = parser.parse_args()
    facts = facts_of_this_run("bench.prefix.index")
    blocks, repeats = (20_000, 20) if options.smoke else (1_000_000, REPEATS)
    values = measure(blocks, repeats)
    for metric, (unit, value) in values.items():
        print(f"{metric}: {value.p50:.1f} {unit}")
    if not options.smoke:
        save_rows(RESULTS / "prefix_index.csv", rows_of(values, blocks, facts))


if __name__ == "__main__":
    main()
