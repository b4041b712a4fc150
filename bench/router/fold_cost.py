"""What folding a step's values into the requests' states costs the host.

On an accelerator the judge copies five values a row to the host, which folds them there. This is
measured on CPU tensors; the time of the copy is not part of it.

Example:
    python -m bench.router.fold_cost            # adds rows to bench/results/judge.csv

Shape legend: B rows of a step.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from bench import RESULTS
from bench.harness.estimates import Estimate, spread
from bench.harness.rows import facts_of_this_run, make_row, save_rows
from cascadia_sglang.judge.device_observer import CopiedStep
from cascadia_sglang.judge.judge import Judge
from cascadia_sglang.judge.state import StateTable

BENCH = "judge"
BATCHES = (1, 8, 32, 128, 256)
STEPS, REPETITIONS = 400, 15


def measure(batch: int, steps: int) -> Estimate:
    """Microseconds per step, over repetitions of `steps` steps."""
    table = StateTable(batch)
    held = [table.new_row() for _ in range(batch)]
    states = [row.index for row in held]
    values_B5 = torch.from_numpy(np.random.default_rng(0).normal(size=(batch, 5))).float()
    step = CopiedStep(values_B5, None, Judge({}))
    rows, token_ids = list(range(batch)), [7] * batch
    taken_us = []
    for _ in range(REPETITIONS + 1):
        began = time.perf_counter()
        for _ in range(steps):
            step.fold(table, states, rows, token_ids)
        taken_us.append(1e6 * (time.perf_counter() - began) / steps)
    return spread(taken_us[1:])  # the first warms up


def main() -> None:
    """Measure every batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="briefly; writes nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    facts = facts_of_this_run("bench.router.fold_cost")
    rows = []
    for batch in BATCHES:
        row = make_row(
            facts,
            bench=BENCH,
            case=f"batch {batch}",
            variant="fold on the host",
            metric="host_time_per_step",
            unit="us",
            value=measure(batch, 10 if args.smoke else STEPS),
        )
        rows.append(row)
        print(f"{row.case}: {row.variant} {row.p50} us ({row.p20} to {row.p80})")
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows)


if __name__ == "__main__":
    main()
