"""What folding a step's values into the requests' states costs the host, and what not folding does.

On an accelerator the judge copies five values a row to the host, which folds them there. The other
way is a state on the device (`cascadia_kernels.fold_into_states`): nothing is folded on the host,
but every step must be told which slot each row belongs to and which slots were taken over. Both
halves that the host does are measured here, on CPU tensors; what the device and the copies take is
not.

Example:
    python -m bench.router.fold_cost            # adds rows to bench/results/judge.csv

Shape legend: B rows of a step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

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


def fold_on_host(batch: int) -> Callable[[], None]:
    """A step of the judge as it is: copied values, folded into the table."""
    table = StateTable(batch)
    held = [table.new_row() for _ in range(batch)]
    states = [row.index for row in held]
    values_B5 = torch.from_numpy(np.random.default_rng(0).normal(size=(batch, 5))).float()
    step = CopiedStep(values_B5, None, Judge({}))
    rows, commits = list(range(batch)), [None] * batch
    return lambda: step.fold(table, states, rows, commits)


def tell_the_device(batch: int) -> Callable[[], None]:
    """What a state on the device needs of the host for a step."""
    slots = list(range(batch))
    is_new = [slot % 8 == 0 for slot in slots]

    def tell() -> None:
        torch.tensor(slots)
        torch.tensor(is_new)

    return tell


VARIANTS = {"fold on the host": fold_on_host, "tell a state on the device": tell_the_device}


def measure(variant: Callable[[int], Callable[[], None]], batch: int, steps: int) -> Estimate:
    """Microseconds a step, over repetitions of `steps` steps."""
    run = variant(batch)
    taken_us = []
    for _ in range(REPETITIONS + 1):
        began = time.perf_counter()
        for _ in range(steps):
            run()
        taken_us.append(1e6 * (time.perf_counter() - began) / steps)
    return spread(taken_us[1:])  # the first warms up


def main() -> None:
    """Measure both for every batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="briefly; writes nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    facts = facts_of_this_run("bench.router.fold_cost")
    rows = []
    for batch in BATCHES:
        for name, variant in VARIANTS.items():
            value = measure(variant, batch, 10 if args.smoke else STEPS)
            row = make_row(
                facts,
                bench=BENCH,
                case=f"batch {batch}",
                variant=name,
                metric="host_time_per_step",
                unit="us",
                value=value,
            )
            rows.append(row)
            print(f"{row.case}: {name} {row.p50} us ({row.p20} to {row.p80})")
    if not args.smoke:
        save_rows(RESULTS / f"{BENCH}.csv", rows)


if __name__ == "__main__":
    main()
